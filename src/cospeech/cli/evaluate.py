"""``cospeech evaluate``: folders of motion in, a table that can be quoted out."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["add_parser", "run"]

EPILOG = """\
examples:
  cospeech evaluate --reference beat2/smplxflame_30 --generated results/npz
  cospeech evaluate --protocol legacy --reference gt --generated emage semtalk --audio beat2/wave16k \\
      --extractor AESKConv_240_100.bin --body SMPLX_NEUTRAL_2020.npz --json results.json --markdown results.md
  cospeech evaluate --protocol beat2022 --reference beat/bvh --generated camn --audio beat/wave16k \\
      --semantic beat/sem --extractor ae_300.bin --statistics beat_cache_stats
  cospeech evaluate --protocol motionstreamer --reference humanml3d_272 --generated motions \\
      --texts humanml3d_272/texts --tokenizer distilbert-base-uncased --extractor epoch=99.ckpt \\
      --statistics humanml3d_272/mean_std

protocols (docs/metrics.md says how they differ):
  cospeech        corrected, recommended           npz     legacy      tables of EMAGE, SemTalk, SynTalker ...  npz
  evaltools       PantoMatrix since 2025           npz     globaldiff  choice of checkpoints in GlobalDiff      npz
  beat2022        CaMN's test on BEAT (2022)       bvh     diffsheg    DiffSHEG's validation on BEAT      bvh + json
  diffsheg_show   the same on SHOW          npy or npz     motionstreamer  text to motion, 272 channels         npy
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``evaluate`` to the command line."""
    parser = commands.add_parser(
        "evaluate",
        help="measure generated motion against recorded motion",
        description="Measure folders of motion by a published protocol, with confidence intervals.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--protocol", default="cospeech", help="whose way of measuring (default: %(default)s)")
    add("--reference", type=Path, required=True, metavar="DIR", help="recorded clips")
    add("--generated", type=Path, required=True, nargs="+", metavar="DIR", help="generated clips, one folder a method")
    add("--audio", type=Path, metavar="DIR", help="the clips' audio, for beat consistency")
    add("--semantic", type=Path, metavar="DIR", help="the clips' semantic scores, for SRGR")
    add(
        "--extractor",
        type=Path,
        metavar="FILE",
        nargs="+",
        help="the protocol's network (AESKConv_240_100.bin for npz), or a trained one's folder",
    )
    add("--body", type=Path, metavar="FILE", help="SMPL-X model file, for faces, body shapes and the hands' mean pose")
    add("--statistics", type=Path, metavar="FILE", help="training means and deviations: a file, or a folder of .npy")
    add("--texts", type=Path, metavar="DIR", help="the clips' captions")
    add("--tokenizer", metavar="NAME", help="DistilBERT's tokenizer: a folder, or a name on the Hub")
    add("--train", type=Path, metavar="DIR", help="recorded training clips: their distance is the floor of distances")
    add("--on-error", choices=("fail", "skip"), default="fail", help="clips with problems (default: %(default)s)")
    add("--resamples", type=int, default=1000, metavar="N", help="for the intervals, 0 for none (default: 1000)")
    add("--seed", type=int, default=0, help="of the resamples (default: 0)")
    add("--processes", type=int, default=1, metavar="N", help="clips measured at a time (default: 1)")
    add("--details", action="store_true", help="also show tables of single joints and of jitter")
    add("--json", type=Path, metavar="FILE", help="write everything, single clips included")
    add("--markdown", type=Path, metavar="FILE", help="write the tables")
    add("--plots", type=Path, metavar="DIR", help="draw distributions, comparison, beats of a clip (extra `viz`)")
    add("--quiet", action="store_true", help="no progress bar and no tables on the screen")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure every folder, show and write the results."""
    # Imported here so that --help and a wrong option answer at once.
    import json

    from cospeech.evaluation import comparison_table, evaluate_folders, save_evaluation_plots
    from cospeech.io.atomic import atomic_path

    # Several networks are for the protocols that have several; a list of one is that one.
    extractor = options.extractor
    if extractor is not None and len(extractor) == 1:
        extractor = extractor[0]
    results = []
    for folder in options.generated:
        with _Bar(folder.name, quiet=options.quiet) as bar:
            result = evaluate_folders(
                folder,
                options.reference,
                protocol=options.protocol,
                audio=options.audio,
                semantic=options.semantic,
                extractor=extractor,
                body=options.body,
                statistics=options.statistics,
                texts=options.texts,
                tokenizer=options.tokenizer,
                train=options.train,
                on_error=options.on_error,
                num_resamples=options.resamples,
                seed=options.seed,
                num_processes=options.processes,
                progress=bar.update,
            )
        results.append(result)
    parts = [result.to_markdown() + (result.details_to_markdown() if options.details else "") for result in results]
    text = "\n".join(parts)
    if len(results) > 1:
        text += "\n" + comparison_table(results)
    if not options.quiet:
        print(text, end="")
    if options.markdown:
        with atomic_path(options.markdown) as path:
            Path(path).write_text(text, encoding="utf-8")
    if options.json:
        with atomic_path(options.json) as path:
            content = [result.to_dict() for result in results]
            Path(path).write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    if options.plots:
        save_evaluation_plots(options.plots, results, generated=options.generated, audio=options.audio)
    return 0


class _Bar:
    """A bar on a terminal that counts clips."""

    def __init__(self, label: str, *, quiet: bool):
        self.label, self.quiet = label, quiet
        self.bar: Any = None

    def update(self, done: int, total: int) -> None:
        if self.quiet:
            return
        if self.bar is None:
            # huggingface-hub's bar is tqdm's, which core has anyway; it is slow to import, hence here.
            tqdm: Any = import_module("huggingface_hub.utils").tqdm
            self.bar = tqdm(total=total, unit=" clips", desc=self.label, disable=None, leave=False)
        self.bar.update(1)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
