import asyncio
import re
import signal
import subprocess
import sys

import click
import pytest

from zim_async import ConvType, __main__, cli
from zim_async.cli._demo import DemoResult, print_result
from zim_async.cli._main import commands
from zim_async.sandbox import Sandbox

COMMAND = [sys.executable, "-m", "zim_async"]


async def run(*arguments: str) -> int:
    """Run the command line as a shell would: on a thread without a loop."""
    return await asyncio.to_thread(cli.main, list(arguments))


async def test_both_actions(env: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    env.add_message("alice", "bob")
    assert await run("clear-peer-message", "alice", "bob") == 0
    assert env.messages("alice", "bob") == []
    assert await run("delete-conv", "alice", "bob", "--type", "peer", "--verbose") == 0
    assert env.messages("alice", "bob") is None
    out = capsys.readouterr().out
    assert re.fullmatch(r"(\w+ done \(request ID \d+, attempts 1\)\n){2}", out)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["delete-conv", "alice", "bob"], 2, "--type"),
        (["delete-conv", "alice", "bob", "--type", "room"], 2, "room"),
        (["delete-conv", "alice", "x" * 33, "--type", "peer"], 2, "conv_id must have 1 to 32 characters"),
        (["fly"], 2, "fly"),
        (["sandbox", "--port", "70000"], 2, "70000"),
        (["sandbox", "--fail", "busy"], 2, "'busy' is no return code"),
        (["sandbox", "--fail", "7:0"], 2, "'7:0' is no return code"),
    ],
)
async def test_usage_errors(
    env: Sandbox, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    assert await run(*arguments) == code
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert not env.arrivals


async def test_a_refusal_has_an_exit_code_and_one_line(env: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    env.fail_next(code=660800002)
    assert await run("delete-conv", "alice", "bob", "--type", "peer") == 1
    assert re.fullmatch(r"zim-async: DeleteConv failed: code 660800002.*\n", capsys.readouterr().err)


def test_missing_credentials_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["clear-peer-message", "alice", "bob"]) == 2
    assert capsys.readouterr().err == "zim-async: set ZIM_APP_ID and ZIM_SERVER_SECRET in the environment\n"


def test_help_is_worth_reading(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    assert "Exit codes:" in capsys.readouterr().out
    assert cli.main(["delete-conv", "--help"]) == 0
    assert "ZIM_SERVER_SECRET" in capsys.readouterr().out


async def test_a_groups_messages(env: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    env.add_group("g7", ["alice", "bob"])
    assert await run("clear-member-group-message", "alice", "g7") == 0
    assert env.messages("alice", "g7", ConvType.GROUP) == []
    assert env.messages("bob", "g7", ConvType.GROUP) == ["hello"]


def test_without_a_command_the_help_is_what_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    found = capsys.readouterr()
    assert "Usage: zim-async" in found.out
    assert found.err == ""


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_help_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    assert f"Examples:\n    zim-async {name}" in capsys.readouterr().out


async def test_demo(capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("demo", "--ops", "8") == 0
    out = capsys.readouterr().out
    assert "8 of 8 calls" in out
    assert re.search(r"state\W+verified", out)
    assert re.search(r"refused by the server\W+0 ", out)


def test_a_demo_that_finds_the_state_wrong_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_result(DemoResult(1, 0, 0, 0, {}, 1.0, 1.0, 0, ["bob lost alice"])) == 1
    assert "wrong: bob lost alice" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["cleanup", "delete-conv"])
def test_a_fault_of_the_program_has_a_code_of_its_own_and_a_traceback(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise ZeroDivisionError("at fault")

    monkeypatch.setitem(commands.commands, command, click.Command(command, callback=fail))
    assert cli.main([command]) == 70
    err = capsys.readouterr().err
    assert "in fail\n" in err
    assert err.splitlines()[-2:] == [
        "ZeroDivisionError: at fault",
        "zim-async: this is a fault of zim-async. Please report it with the lines above",
    ]


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_help_knows_the_code_of_a_fault(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    assert "70  a fault of zim-async" in capsys.readouterr().out


def test_an_interrupt_is_quiet() -> None:
    with subprocess.Popen([*COMMAND, "demo", "--ops", "1000"], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err.strip()) == (130, "interrupted")


@pytest.mark.parametrize("library", ["click", "rich"])
def test_without_its_libraries_the_script_says_what_to_install(
    library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr("zim_async.cli")
    for name in [name for name in sys.modules if name.startswith((f"{library}.", "zim_async.cli"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    assert __main__.main() == 2
    assert capsys.readouterr().err == "zim-async needs its command-line libraries: pip install 'zim_async[cli]'\n"


def test_the_extras_are_not_imported_by_the_library() -> None:
    code = "import sys, zim_async; print({'click', 'rich', 'zim_async.sandbox', 'aiohttp.web'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert done.stdout == "set()\n"
