"""
Feeds random input to what reads other people's files, words and code, and counts errors that are not documented.

    python benchmarks/fuzz.py --seconds 600
    python benchmarks/fuzz.py --seconds 60 --targets reward_answers

A target draws its input, uses it, and returns where that went well or ended with an error that its documentation
promises. Whatever else it raises is printed with the smallest input that raises it, and makes the exit code 1.
"""

import argparse
import shlex
import sys
import time
import traceback
import warnings
from collections.abc import Callable

from fuzz_cli import command_lines, yaml_texts, yaml_values
from fuzz_images import image_files, rows_of_files
from fuzz_rewards import reward_answers, reward_columns, reward_names, reward_weights
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from record import append_record, provenance, records_of


TARGETS: dict[str, Callable[[st.DataObject], None]] = {
    "reward_names": reward_names,
    "reward_weights": reward_weights,
    "reward_columns": reward_columns,
    "reward_answers": reward_answers,
    "yaml_texts": yaml_texts,
    "yaml_values": yaml_values,
    "command_lines": command_lines,
    "image_files": image_files,
    "rows_of_files": rows_of_files,
}
INPUTS_A_ROUND = 200  # short rounds keep to the time; each has a seed of its own


def fuzz(target: Callable[[st.DataObject], None], seconds: float, first_seed: int = 0) -> tuple[int, list[str]]:
    """
    Runs a target for some seconds.

    Returns:
        How often it was executed, and a report of each undocumented error; errors of one kind from one line are one.
    """
    executions, errors, end = 0, {}, time.monotonic() + seconds

    def counted(data):
        nonlocal executions
        executions += 1
        target(data)

    options = settings(
        max_examples=INPUTS_A_ROUND,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    round_number = first_seed
    while time.monotonic() < end:
        try:
            seed(round_number)(options(given(st.data())(counted)))()
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            report = "".join(traceback.format_exception(error))  # the input is among its notes
            errors.setdefault((type(error), where.filename, where.lineno), report)
        round_number += 1
    return executions, list(errors.values())


def main(argv: list[str] | None = None) -> None:
    """Runs the targets one after another and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="Time for each target.")
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--seed", type=int, default=0, help="Of the first round; each round has the next.")
    parser.add_argument("--record", action="store_true", help="Add a line a target to records/reliability.jsonl.")
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore")  # of torch, about the strange tensors that are made
    total = 0
    print("| target | seconds | executions | undocumented errors |\n|---|---|---|---|")
    for name in args.targets:
        executions, errors = fuzz(TARGETS[name], args.seconds, args.seed)
        total += len(errors)
        record = {"measure": "fuzz", "command": shlex.join(["python", *sys.argv]), "target": name}
        record |= {"seconds": args.seconds, "executions": executions, "undocumented_errors": len(errors)}
        if args.record:
            append_record(records_of("reliability"), record | provenance())
        print(f"| `{name}` | {args.seconds:g} | {executions:,} | {len(errors)} |", flush=True)
        for error in errors:
            print(error, file=sys.stderr, flush=True)
    sys.exit(total > 0)


if __name__ == "__main__":
    main()
