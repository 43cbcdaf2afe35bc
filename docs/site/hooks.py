"""What the site shows beside the pages in docs/: one reference page per package, the examples' sources, model cards.

These pages are made from the sources while the site is built. In the pages of docs/, links that lead out of the folder
(they work on GitHub) are turned to the made pages; there and in docstrings, public names in code spans become links to
their reference.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections import defaultdict
from pathlib import Path
from textwrap import dedent

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PUBLIC_NAMES = (ROOT / "tests/public_names.txt").read_text().split()
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
COPIED = {  # a file of the repository -> its page
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "src/cospeech/assets/cospeech-tiny/README.md": "models/cospeech-tiny.md",
}
SOURCE_PAGES = COPIED | {f"examples/{name}.py": f"examples/{name}.md" for name in EXAMPLES}

LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^(?:```|~~~).*?^(?:```|~~~)[ \t]*$", re.M | re.S)
CODE = re.compile(r"(?<!\">)(?<!<b>)<code>([A-Za-z_][\w.]*)(?:\(\))?</code>(?!</a>)")  # no link, heading, parameter
CELL = re.compile(r"<td.*?</td>", re.S)
LONG_CODE = re.compile(r"(?<=<code>)[^<]{25,}(?=</code>)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the pages that are made here in the navigation, and those of docs/ that nobody has placed in it yet."""
    sections = {name: pages for entry in config.nav for name, pages in entry.items()}
    placed = re.findall(r"[\w/-]+\.md", str(config.nav))
    written = (path.relative_to(ROOT / "docs").as_posix() for path in sorted((ROOT / "docs").rglob("*.md")))
    sections["Guides"] += [page for page in written if page not in placed]
    sections["Examples"] += [f"examples/{name}.md" for name in EXAMPLES]
    sections["Reference"] += ["reference/index.md", *(f"reference/{package}.md" for package in packages())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    made = {page: (ROOT / source).read_text() for source, page in COPIED.items()}
    made |= {f"examples/{name}.md": example_page(name) for name in EXAMPLES}
    made |= {f"reference/{package}.md": reference_page(package) for package in packages()}
    made["reference/index.md"] = reference_index()
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links out of docs/ to pages of the site, outside fenced code."""
    source = next((s for s, made in SOURCE_PAGES.items() if made == page.file.src_uri), f"docs/{page.file.src_uri}")
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [_relink(markdown[end : fence.start()], source, page.file.src_uri), fence[0]]
        end = fence.end()
    return "".join([*parts, _relink(markdown[end:], source, page.file.src_uri)])


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Link public names in code spans (the plugin autorefs finds where they are); let long ones break in tables."""

    def link(found: re.Match[str]) -> str:
        path = _PATHS.get(found[1])
        return f'<autoref identifier="{object_path(path)}">{found[0]}</autoref>' if path else found[0]

    html = CODE.sub(link, html)
    return CELL.sub(lambda cell: LONG_CODE.sub(lambda code: re.sub(r"(?<=[(=,./])", "<wbr>", code[0]), cell[0]), html)


def packages() -> list[str]:
    """The packages that have public names."""
    return sorted({name.rpartition(".")[0] for name in PUBLIC_NAMES})


def example_page(name: str) -> str:
    """An example's header as text, its program as code."""
    source = (ROOT / f"examples/{name}.py").read_text()
    tree = ast.parse(source)
    header, program = ast.get_docstring(tree), source.splitlines()[tree.body[0].end_lineno :]
    header = re.sub(r"^CI:.*$", "", header, flags=re.M)
    header = re.sub(r"^((?:Needs|Takes):)", r"- **\1**", header, flags=re.M)
    header = re.sub(r"^(?: {4}.+\n?)+", lambda block: f"```text\n{dedent(block[0])}```\n", header + "\n", flags=re.M)
    first, _, rest = header.partition("\n")
    code = "\n".join(program).strip()
    return f"# {name}.py\n\n{first}\n{rest}\n\n```python\n{code}\n```\n"


def reference_page(package: str) -> str:
    """Everything public in a package."""
    lines = [f"# {package}", "", f"::: {package}", ""]
    for path in PUBLIC_NAMES:
        if path.rpartition(".")[0] == package and object_path(path) != path:
            options = ["    options:", "      show_root_heading: true", "      show_root_toc_entry: true"]
            lines += [f'<span id="{path}"></span>', "", f"::: {object_path(path)}", *options]
            lines += ["      show_root_full_path: false", ""]
    return "\n".join(lines)


def object_path(path: str) -> str:
    """Where mkdocstrings finds a public name: it takes a function called like its module for the module."""
    is_module = (ROOT / "src" / path.replace(".", "/")).with_suffix(".py").is_file()
    return f"{path}.{path.rpartition('.')[2]}" if is_module else path


def reference_index() -> str:
    """Every package with the first line of its docstring."""
    rows = []
    for package in packages():
        folder = ROOT / "src" / package.replace(".", "/")
        module = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        first_line = (ast.get_docstring(ast.parse(module.read_text())) or "").splitlines()[0]
        rows.append(f"| [{package}]({package}.md) | {first_line} |")
    return "\n".join(["# Reference", "", "| Package | Holds |", "| --- | --- |", *rows, ""])


def _relink(text: str, source: str, page: str) -> str:
    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[2]))
        target = SOURCE_PAGES.get(target, target.removeprefix("docs/") if target.startswith("docs/") else "")
        if not target or re.match(r"[a-z]+:", found[2]):
            return found[0]
        return f"{found[1]}{posixpath.relpath(target, posixpath.dirname(page))}{found[3] or ''})"

    return LINK.sub(link, text)


def _paths() -> dict[str, str]:
    """A public name's full path, by that path and, where it cannot be mistaken, by the bare name."""
    homes = defaultdict(list)
    for path in PUBLIC_NAMES:
        homes[path.rpartition(".")[2]].append(path)
    bare = {name: paths[0] for name, paths in homes.items() if len(paths) == 1 and re.search("[A-Z_]", name)}
    return bare | {path: path for path in PUBLIC_NAMES}


_PATHS = _paths()
