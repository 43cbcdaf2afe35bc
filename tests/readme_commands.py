"""Print the README's shell command about ``generate`` or ``test``, so that CI runs what users read."""

import re
import sys
from pathlib import Path


def command(heading_word: str) -> str:
    """The first ```bash block below the heading that contains a word."""
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text()
    section = re.search(rf"^#+ [^\n]*{heading_word}.*?^```bash\n(.*?)^```", readme, re.S | re.M | re.I)
    if section is None:
        raise SystemExit(f"README.md has no bash block below a heading with the word {heading_word!r}")
    return section.group(1)


if __name__ == "__main__":
    sys.stdout.write(command(sys.argv[1]))
