"""
Mutation testing of the mathematics: plants one fault at a time and sees whether a test fails.

    python benchmarks/mutate.py --record                     # every file of TESTS
    python benchmarks/mutate.py rss_hf/policy/action_grid.py

A fault is a comparison that is off by an edge, another operator, a number that is 1 more, a negated condition, a
dropped call, keyword argument or error, one name of a pair such as min and max for the other, another string. Not
counted are docstrings, annotations, and what stands in messages of errors and of the log. The tests of a fault are
those that ran its line, the fastest first, and last those of its own test file that ran nothing of it here because
they start processes. With `--record` one JSON line goes to benchmarks/records/reliability.jsonl.
"""

import argparse
import ast
import copy
import gc
import importlib
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from record import RECORDS, ROOT, append_record, provenance
from transformers import conversion_mapping


ADVANTAGES = ["tests/advantages", "tests/training/test_every_estimator.py", "tests/training/test_configs.py"]
TRAINING = ["tests/training/test_loss.py", "tests/training/test_rollouts.py", "tests/training/test_every_estimator.py"]
TESTS = {  # the tests of each file: of those that run a faulty line all are tried, the fastest first
    "rss_hf/policy/*.py": ["tests/policy"],
    "rss_hf/rewards/*.py": ["tests/rewards"],
    "rss_hf/advantages/*.py": ADVANTAGES,
    "rss_hf/advantages/score_posterior/*.py": ADVANTAGES,
    "rss_hf/training/loss.py": TRAINING,
    "rss_hf/training/rollouts.py": TRAINING,
}
OPERATORS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
OPERATORS |= {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or}
OPERATORS |= {ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
OPERATORS |= {ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd}
OPERATORS |= {ast.BitAnd: ast.BitOr}
PAIRS = "min max, any all, amin amax, sum mean, zeros ones, new_zeros new_ones, ceil floor, rows columns, add_ sub_"
PAIRS = [tuple(pair.split()) for pair in PAIRS.split(", ")]
NAMES = dict(PAIRS) | {second: first for first, second in PAIRS}
SILENT = {"warning", "write", "flush"}  # calls that only say something


def faults(tree: ast.Module):
    """Pairs of a node of `tree` and what may stand in its place."""

    def visit(node: ast.AST):
        yield from replacements(node)
        for name, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not says_something(node, name, child):
                    yield from visit(child)

    yield from visit(tree)


def says_something(parent: ast.AST, field: str, node: ast.AST) -> bool:
    """Whether a node is an annotation, an import, or text for a reader."""
    text = isinstance(node, ast.JoinedStr) or isinstance(node, ast.Constant) and isinstance(node.value, str)
    return (
        field in ("annotation", "returns", "exc", "cause", "decorator_list")
        or isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr)
        or isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == "__all__"
        or isinstance(parent, ast.Expr)
        and isinstance(node, ast.Constant)
        or isinstance(parent, ast.Call)
        and text
        and callee(parent) in ("_assert_async", "require")
        or isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and callee(node.value) in SILENT
    )


def callee(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def replacements(node: ast.AST):
    """`(node, replacement)` for each fault in the node itself."""

    def changed(**fields) -> tuple[ast.AST, ast.AST]:
        other = copy.copy(node)
        for name, value in fields.items():
            setattr(other, name, value)
        return node, other

    match node:
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                yield changed(ops=[*ops[:i], OPERATORS[type(op)](), *ops[i + 1 :]])
        case ast.BinOp(op=op) | ast.BoolOp(op=op) | ast.AugAssign(op=op) if type(op) in OPERATORS:
            yield changed(op=OPERATORS[type(op)]())
        case ast.UnaryOp(op=op, operand=operand) if not (
            isinstance(op, ast.USub) and isinstance(operand, ast.Constant)
        ):
            yield node, operand
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            if not isinstance(test, ast.Compare | ast.UnaryOp):  # these are changed themselves
                yield changed(test=ast.UnaryOp(ast.Not(), test))
        case ast.comprehension(ifs=[_, *_]):
            yield changed(ifs=[])
        case ast.Constant(value=bool(value)):
            yield changed(value=not value)
        case ast.Constant(value=int(value) | float(value)):
            yield changed(value=value + 1)
        case ast.Constant(value=str(value)):
            yield changed(value="other " + value)
        case ast.Raise() | ast.Expr(value=ast.Call()):
            yield node, ast.Pass()
        case ast.Attribute(attr=name) if name in NAMES:
            yield changed(attr=NAMES[name])
        case ast.Call(func=ast.Name(id=name)) if name in NAMES:
            yield changed(func=ast.Name(NAMES[name]))
    if isinstance(node, ast.Call):
        for i, keyword in enumerate(node.keywords):
            if keyword.arg not in (None, "device", "name"):  # there is one device here; a thread's name is text
                yield changed(keywords=[*node.keywords[:i], *node.keywords[i + 1 :]])
    if isinstance(node, ast.FunctionDef):
        for i, decorator in enumerate(node.decorator_list):
            if ast.unparse(decorator) == "torch.no_grad()":
                yield changed(decorator_list=[*node.decorator_list[:i], *node.decorator_list[i + 1 :]])


class Swap(ast.NodeTransformer):
    """Puts one node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST):
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def mutants(source: str) -> list[tuple[str, set[int], str]]:
    """`(what is changed, its lines, the changed source)` for each fault of a module."""
    tree, result = ast.parse(source), []
    for old, new in [*faults(tree)]:
        first = getattr(old, "lineno", 0) or old.target.lineno
        last = old.body[0].lineno if isinstance(old, ast.FunctionDef | ast.If) else getattr(old, "end_lineno", first)
        what = f"{first}: {one_line(old)} -> {one_line(new)}"
        Swap(old, new).visit(tree)
        result.append((what, set(range(first, last + 1)), ast.unparse(ast.fix_missing_locations(tree))))
        Swap(new, old).visit(tree)
    assert ast.unparse(tree) == ast.unparse(ast.parse(source))
    return result


def one_line(node: ast.AST) -> str:
    try:
        text = ast.unparse(ast.fix_missing_locations(copy.deepcopy(node)))
    except AttributeError:  # no statement or expression
        text = ast.dump(node)
    return text.splitlines()[0].strip() if text else ""


class Trace:
    """A pytest plugin: the seconds of each test, and the lines of some files that it runs."""

    def __init__(self, files: list[str]):
        self.files, self.lines, self.seconds = {str(Path(file).resolve()): file for file in files}, {}, {}

    def start(self, frame, event, argument):
        file = self.files.get(frame.f_code.co_filename)
        if file is None:
            return None
        seen = self.lines[self.test].setdefault(file, set())

        def step(frame, event, argument):
            seen.add(frame.f_lineno)
            return step

        return step(frame, event, argument)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.test, self.lines[item.nodeid], start = item.nodeid, {}, time.perf_counter()
        threading.settrace(self.start)
        sys.settrace(self.start)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)
            self.seconds[item.nodeid] = time.perf_counter() - start


def in_fork(work, timeout: float) -> int | None:
    """The exit status of `work()` in a fork of this process, None if it took too long; then its processes end too."""
    child = os.fork()
    if not child:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        status = 70
        try:
            status = int(work())
        finally:
            os._exit(status)
    end, result = time.monotonic() + timeout, 0
    while time.monotonic() < end and not (result := os.waitpid(child, os.WNOHANG))[0]:
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if result[0]:
        return os.waitstatus_to_exitcode(result[1])
    os.waitpid(child, 0)
    return None


def run_tests(tests: list[str], *plugins) -> int:
    off = [part for name in ("cacheprovider", "xdist", "unraisableexception") for part in ("-p", f"no:{name}")]
    return pytest.main(["-x", "-q", "--tb=no", *off, *tests], plugins=[*plugins])


def baseline(files: list[str], folders: list[str], slowest: float, path: Path) -> tuple[dict, dict]:
    """The lines that each test runs and its seconds, of tests that take `slowest` seconds at most; kept at `path`."""
    trace = Trace(files)

    def work() -> int:
        status = run_tests([*folders, "--deselect", "tests/advantages/score_posterior/test_parallel.py"], trace)
        others = [name for name in sys.modules if name.split(".")[0] not in ("rss_hf", "tests", "helpers", "conftest")]
        lines = {test: {file: [*seen] for file, seen in by_file.items()} for test, by_file in trace.lines.items()}
        path.write_text(json.dumps([lines, trace.seconds, others]))
        return status

    if not path.exists() and in_fork(work, timeout=1800) != 0:
        raise SystemExit("The tests fail without a fault in the code.")
    lines, seconds, modules = json.loads(path.read_text())
    for name in modules:  # a fork has them at once
        with suppress(Exception):
            importlib.import_module(name)
    conversion_mapping.get_checkpoint_conversion_mapping("llama")  # kept from the first call on, like the modules
    gc.freeze()
    if in_fork(lambda: run_tests(["--collect-only", *lines]), timeout=600) != 0:
        raise SystemExit("A test is not found by its name: each fault would seem to be found.")
    return {test: lines[test] for test in lines if seconds[test] <= slowest}, seconds


def tests_of(file: str, lines: set[int], seen: dict, seconds: dict, folders: list[str]) -> list[str]:
    """The tests that ran one of the lines, the fastest first, then those of the file's own that ran nothing of it."""
    seen = {test: by_file for test, by_file in seen.items() if test.startswith(tuple(folders))}
    module_level = all(not lines & set(by_file.get(file, ())) for by_file in seen.values())
    ran = [
        t for t, by_file in seen.items() if (by_file.get(file) if module_level else lines & {*by_file.get(file, ())})
    ]
    ran = ran or [*seen]  # an `__init__` runs when the tests are collected
    mirror = str(Path("tests", *Path(file).parts[1:-1], f"test_{Path(file).name}"))
    others = [test for test in seen if test.startswith(mirror + "::") and not seen[test].get(file)]
    return sorted(ran, key=seconds.get) + sorted(others, key=seconds.get)


def mutate(file: str, seen: dict, seconds: dict, folders: list[str], known: dict | None) -> dict:
    source, survivors, start = Path(file).read_text(), [], time.perf_counter()
    planted = mutants(source)
    total = len(planted)
    if known is not None:
        planted = [fault for fault in planted if fault[0] in known["survivors"]]
    for what, lines, changed in planted:
        tests = tests_of(file, lines, seen, seconds, folders)
        Path(file).write_text(changed)
        timeout = 20 + 5 * sum(seconds[test] for test in tests)
        if tests and in_fork(lambda tests=tests: run_tests(tests), timeout) != 0:
            continue
        survivors.append(what)
        print(f"{file}:{what}  ({len(tests)} tests)", flush=True)
    Path(file).write_text(source)
    print(f"{file}: {total - len(survivors)} of {total}, {time.perf_counter() - start:.0f} s", flush=True)
    return {"killed": total - len(survivors), "of": total, "survivors": survivors}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="all of TESTS where none is given")
    parser.add_argument("--slowest", type=float, default=3.0, help="tests that take more seconds are left out")
    parser.add_argument("--baseline", type=Path, help="keeps what the tests run, for another time")
    parser.add_argument("--report", type=Path, help="a JSON file for what --record keeps of each file")
    parser.add_argument("--again", type=Path, help="a report of this code: only what survived then is planted")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    folders = {str(path.relative_to(ROOT)): tests for glob, tests in TESTS.items() for path in sorted(ROOT.glob(glob))}
    files = [file for file in args.files or folders if mutants((ROOT / file).read_text())]
    kept = (args.baseline or Path(tempfile.mkdtemp(), "baseline.json")).resolve()
    known = json.loads(args.again.read_text()) if args.again else None
    report = args.report and args.report.resolve()
    begin, place = time.perf_counter(), provenance()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:  # the faults are planted in a copy
        for part in ("rss_hf", "tests", "benchmarks", "configs", "docs", "scripts", "pyproject.toml", "README.md"):
            copied = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copied(ROOT / part, Path(folder, part))
        os.chdir(folder)
        os.environ["PYTHONPATH"] = folder
        sys.path[:] = [folder, *(entry for entry in sys.path if Path(entry).resolve() != ROOT)]
        own = sorted({test for file in files for test in folders[file]})
        seen, seconds = baseline(files, own, args.slowest, kept)
        for cached in Path("rss_hf").rglob("__pycache__/*.pyc"):  # else a fault of the same second may not be seen
            if any(Path(file).stem == cached.name.split(".")[0] for file in files):
                cached.unlink()
        sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"
        print(f"{len(seen)} tests, {time.perf_counter() - begin:.0f} s", flush=True)
        results = {file: mutate(file, seen, seconds, folders[file], known and known[file]) for file in files}
    killed, total = (sum(result[key] for result in results.values()) for key in ("killed", "of"))
    print(f"{killed} of {total} faults found, {killed / max(total, 1):.1%}, {time.perf_counter() - begin:.0f} s")
    if report:
        report.write_text(json.dumps(results, indent=1))
    if args.record:
        record = {"measure": "mutants", "killed": killed, "of": total, "files": results}
        record |= {"seconds": round(time.perf_counter() - begin), "command": shlex.join(["python", *sys.argv])}
        append_record(RECORDS / "reliability.jsonl", record | place)


if __name__ == "__main__":
    main()
