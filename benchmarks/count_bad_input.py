"""
Counts the cases of the tests of bad input, a table of cases a line, into benchmarks/records/reliability.jsonl.

    python benchmarks/count_bad_input.py
"""

import shlex
import subprocess
import sys
from collections import Counter

from record import ROOT, append_record, provenance, records_of


TABLES = {
    "bad data": """
        data/test_batches.py::test_batches_that_cannot_be_learned_from_are_refused
        data/test_batches.py::test_binary_masks_are_refused_wherever_they_come_from
        data/test_checks.py::test_damage_is_told_with_the_name_of_the_file
        data/test_checks.py::test_masks_that_teach_nothing_are_refused
        data/test_checks.py::test_sizes_that_no_trainer_lives_with_are_named
        data/test_columns.py::test_what_cannot_be_found_is_named
        data/test_damaged.py::test_a_damaged_parquet_file_is_named
        data/test_damaged.py::test_class_names_that_cannot_be_read_are_named
        data/test_examples.py::test_ids_without_a_class_are_refused_where_classes_are_counted
        data/test_images.py::test_32_bit_numbers_are_no_colours
        data/test_masks.py::test_masks_that_do_not_say_the_class_are_refused
        data/test_rows.py::test_check_labels_refuses
        data/test_rows.py::test_errors_name_the_file_that_is_at_fault
        evaluation/test_metrics.py::test_classes_outside_the_range_are_refused
        training/test_segmentation_trainer.py::test_a_first_batch_that_cannot_be_learned_from_is_refused
    """,
    "bad settings": """
        advantages/score_posterior/test_judged_maps.py::test_a_memory_that_cannot_be_is_refused
        advantages/test_extremes.py::test_settings_that_are_none_are_refused_by_name
        cli/test_arguments.py::test_files_that_are_no_mapping_name_the_line
        cli/test_bad_settings.py::test_bad_files
        cli/test_bad_settings.py::test_bad_lines_of_the_other_commands
        cli/test_bad_settings.py::test_bad_options
        cli/test_bad_settings.py::test_bad_texts
        cli/test_train.py::test_bad_input_is_refused_before_training
        data/test_damaged.py::test_class_names_that_are_none_are_refused
        data/test_damaged.py::test_no_rows_at_all_cannot_be_asked_for
        data/test_hub.py::test_wrong_options_are_named
        data/test_masks.py::test_wrong_palettes_are_named
        data/test_transforms.py::test_bad_scale_range
        data/test_transforms.py::test_scales_that_make_no_sense_are_refused
        data/test_transforms.py::test_sizes_that_make_no_sense_are_refused
        training/test_configs.py::test_wrong_values_are_named
        training/test_every_estimator.py::test_misspelled_settings_are_refused_with_the_nearest
        training/test_segmentation_trainer.py::test_arguments_without_effect_are_refused
        training/test_segmentation_trainer.py::test_functions_without_effect_are_refused
    """,
    "bad rewards": """
        rewards/test_answers.py::test_what_is_no_answer_is_refused_by_name
        rewards/test_contract.py::test_a_column_that_no_reward_could_be_given_is_refused
        rewards/test_contract.py::test_a_column_without_an_entry_for_each_image_is_refused
        rewards/test_contract.py::test_labels_that_are_no_maps_are_refused
        rewards/test_guarded_call.py::test_a_time_limit_that_is_none_is_refused
        rewards/test_guarded_call.py::test_whatever_ends_a_reward_is_an_error_that_names_it
        rewards/test_weighted.py::test_a_path_to_no_reward_is_named_with_the_cause
        rewards/test_weighted.py::test_weights_that_are_no_weights_are_refused
        rewards/test_weighted.py::test_what_is_no_reward_is_refused
    """,
    "not finite": """
        advantages/score_posterior/test_gaussian.py::test_equations_that_cannot_be_solved_are_refused
        advantages/test_extremes.py::test_normalised_weights_do_not_depend_on_the_unit
        advantages/test_extremes.py::test_weights_are_finite_whatever_the_rewards_are
        advantages/test_extremes.py::test_weights_are_finite_where_the_policy_is_certain
        evaluation/test_predict.py::test_logits_that_are_not_finite_are_refused
        rewards/test_weighted.py::test_a_total_that_overflows_is_refused
        training/test_configs.py::test_every_number_is_finite
        training/test_safe_training.py::test_a_loss_that_is_not_finite_stops_the_run_at_the_next_log
    """,
}


def count(collected: list[str]) -> dict[str, int]:
    """
    How many of the tests collected belong to each table.

    Args:
        collected (`list[str]`): names as pytest prints them, `tests/FILE::FUNCTION[CASE]`.

    Raises:
        ValueError: if none of the cases of a test that a table names was collected.
    """
    cases = Counter(name.partition("[")[0].removeprefix("tests/") for name in collected)
    missing = [test for tests in TABLES.values() for test in tests.split() if not cases[test]]
    if missing:
        raise ValueError(f"Not collected: {', '.join(missing)}. Name the tests as they are called now in TABLES.")
    return {table: sum(cases[test] for test in tests.split()) for table, tests in TABLES.items()}


def main():
    files = sorted({f"tests/{test.partition('::')[0]}" for tests in TABLES.values() for test in tests.split()})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *files]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    counts = count([line for line in listed.splitlines() if "::" in line])
    print("| table | cases |\n|---|---|")
    for table, cases in counts.items():
        print(f"| {table} | {cases} |")
    record = {"measure": "bad_input", "command": shlex.join(["python", *sys.argv]), "cases": counts}
    append_record(records_of("reliability"), record | provenance())


if __name__ == "__main__":
    main()
