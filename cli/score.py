# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The command `ssgpa score`: any system's captions, scored beside baselines, with intervals, types and a page."""

import argparse
import sys
import warnings


def run(options: argparse.Namespace) -> int:
    """Score the file, print the table and write what was asked for.

    Args:
        options (`argparse.Namespace`): The command line.

    Returns:
        `int`: The exit code 0.

    Raises:
        OSError: A file cannot be read or written, or exists.
        ValueError: Captions and references do not fit together; the error names the file and the place.
        RuntimeError: Java is asked for and missing, fails or takes too long.
        ImportError: A library of the extra `eval` is missing.
    """
    from ..metrics import score_files as work
    from ..metrics.report.build import collapse_alarm, format_intervals, format_table
    from ..utils.results import write_results

    work.check_targets(options.output, options.report, options.overwrite)
    references = work.load_references(options.references, options.split, options.train)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        report, rows, captions = work.score_files(
            options.predictions,
            references,
            compare=options.compare,
            missing=options.missing,
            protocol=options.protocol,
            tokenizer=options.tokenizer,
            language=options.language,
            meteor=not options.no_meteor,
            seed=options.seed,
        )
    split = options.split if references.images is not None else None
    told = [*report["notes"], *dict.fromkeys(str(one.message) for one in caught if one.category is UserWarning)]
    results = {"model": str(options.predictions), "data": options.references, "split": split, **report, "notes": told}
    sys.stderr.write("".join(f"ssgpa: {line}\n" for line in told))
    if options.output:
        write_results(options.output, results)
    if options.report:
        work.write_score_page(options.report, results, references, rows, captions, options.report_pairs)
    lines = (format_table(report), format_intervals(report), collapse_alarm(report))
    sys.stdout.write("".join(f"{line}\n" for line in lines if line))
    return 0
