"""Progress of a long run: a bar on a terminal, a line for each step in a pipe, and every step in both."""

import io
import sys

from validate.console import Step, watched

STEPS = [Step("text", 1, 2, "p1"), Step("text", 2, 2, "p2"), Step("scored", 1, 1, "p3")]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_pipe_gets_a_line_for_each_step(capsys):
    assert list(watched(iter(STEPS))) == STEPS
    assert capsys.readouterr().err.splitlines() == ["text 1/2 p1", "text 2/2 p2", "scored 1/1 p3"]


def test_a_terminal_gets_every_step_and_a_bar_that_says_where_the_work_is(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(watched(iter(STEPS))) == STEPS
    shown = sys.stderr.getvalue()
    assert "scored: p3" in shown
    assert "1/1" in shown
    assert "scored 1/1" not in shown


def test_a_bar_says_how_much_of_its_stage_is_done(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    list(watched([Step("text", 1, 4, "p1")]))
    assert "text: p1" in sys.stderr.getvalue()
    assert "1/4" in sys.stderr.getvalue()
