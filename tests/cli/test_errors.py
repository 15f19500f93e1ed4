import pytest
import torch

from rss_hf.cli.errors import one_line_errors, one_line_own_errors
from rss_hf.policy import ProgressiveStrides
from rss_hf.rewards import RewardError
from rss_hf.rewards.answers import answer_tensor
from rss_hf.rewards.guarded_call import guarded_call


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError("a value\n  of no use"), "a value of no use"),
        (FileNotFoundError(2, "No such file", "a.png"), "[Errno 2] No such file: 'a.png'"),
        (ModuleNotFoundError("no module"), "no module"),
        (ValueError(), "ValueError"),
    ],
)
def test_errors_of_input_are_one_line(error, line):
    with pytest.raises(SystemExit) as end, one_line_errors():
        raise error
    assert end.value.code == line and end.value.__cause__ is error


@pytest.mark.parametrize("error", [RuntimeError, TypeError, KeyError, AttributeError, ZeroDivisionError])
def test_bugs_keep_their_traceback(error):
    with pytest.raises(error), one_line_errors():
        raise error("a bug")
    with pytest.raises(error), one_line_own_errors():
        raise error("a bug")


def test_while_training_only_messages_of_this_package_are_one_line():
    with pytest.raises(SystemExit, match="strides must be in pixels"), one_line_own_errors():
        ProgressiveStrides([4, 8], 0)
    with pytest.raises(ValueError, match="invalid literal"), one_line_own_errors():
        int("four")


@pytest.mark.parametrize("one_line", [one_line_errors, one_line_own_errors])
def test_an_error_in_a_reward_is_a_sentence_after_the_lines_of_the_reward(one_line, capsys):
    def judge():
        return {}["area"]

    with pytest.raises(SystemExit, match="Reward 'judge' raised KeyError: 'area'") as end, one_line():
        guarded_call("judge", judge, device=torch.device("cpu"))
    assert isinstance(end.value.__cause__, RewardError)
    shown = capsys.readouterr().err
    assert shown.count("File ") == 1 and 'return {}["area"]' in shown
    for answer, message in (("good", "returned a str"), ([1e30], "infinite value or one beyond")):
        with pytest.raises(SystemExit, match=message), one_line():
            answer_tensor("judge", answer, 1, (2, 2), torch.device("cpu"))
    assert capsys.readouterr().err == "", "no line of the reward is at fault"


def test_a_process_that_is_not_the_first_says_which_it_is(monkeypatch):
    for rank, line in {"0": "text", "3": "Process 3: text"}.items():
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) as end, one_line_errors():
            raise ValueError("text")
        assert end.value.code == line
