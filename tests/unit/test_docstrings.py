"""Every public name is documented: what it is, each parameter, what comes back, what is raised."""

import ast
import importlib
import inspect
import itertools
import pkgutil
import re
import textwrap

import pytest

MODULES = (
    "astropix_stream.sock",
    "astropix_stream.fmt",
    "astropix_stream.fileio",
    "astropix_stream.columns",
    "astropix_stream.relay",
    "astropix_stream.errors",
    "astropix_stream.url",
    "astropix_stream.receiving.receiver",
    "astropix_stream.file_receiver",
    "astropix_stream.log.receiver",
)
ALSO = (  # of modules in which most is for ourselves
    "astropix_stream.counting.ledger.Ledger",
    "astropix_stream.counting.ledger.PathAccount",
    "astropix_stream.counting.losses.Loss",
    "astropix_stream.counting.losses.Period",
    "astropix_stream.counting.places.Place",
    "astropix_stream.counting.state.State",
    "astropix_stream.batch.Batch",
    "astropix_stream.batch.Run",
    "astropix_stream.batch.RunStart",
    "astropix_stream.batch.Source",
    "astropix_stream.batch.Position",
    "astropix_stream.receiving.merged.MergedReceiver",
    "astropix_stream.opening.open_receiver",
)
#: Exceptions that any Python call may raise, or that are told where the function's parameters are.
UNTOLD = {"AssertionError", "NotImplementedError", "StopIteration", "KeyboardInterrupt", "AttributeError"}


def public_names(module):
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    for name in names:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            yield f"{module.__name__}.{name}", value


def cases():
    """Yield each public class, function, method and property, once."""
    named = [(name, pkgutil.resolve_name(name)) for name in ALSO]
    for module_name in MODULES:
        named += public_names(importlib.import_module(module_name))
    seen = set()
    for name, value in named:
        if value in seen or not getattr(value, "__module__", "").startswith("astropix_"):
            continue
        seen.add(value)
        yield name, value
        for member_name, member in vars(value).items() if inspect.isclass(value) else ():
            plain = getattr(member, "__func__", member)
            is_callable = inspect.isfunction(plain) or isinstance(member, property)
            if is_callable and not member_name.startswith("_"):
                yield f"{name}.{member_name}", getattr(value, member_name)


CASES = dict(cases())


def docstring(value):
    return inspect.getdoc(value) or ""


def test_there_are_many():
    assert len(CASES) > 150


@pytest.mark.parametrize("name", CASES)
def test_it_has_a_docstring_in_a_sentence(name):
    text = docstring(CASES[name])
    assert text, "no docstring"
    summary = " ".join(text.split("\n\n")[0].split())
    assert re.search(r"[.:!?)]$", summary), summary
    assert "Initialize self" not in text
    assert "lias for field number" not in text


def parameters(value):
    """Return the parameters that a caller passes, of a function or a class."""
    if isinstance(value, property):
        return []
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return []
    passed = [one.name for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    return [name for name in passed if name not in ("self", "cls", "args", "kwargs") and name[0] != "_"]


def fields_with_docstring(value):
    """Return the fields of a value class that a string below them explains."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(value))).body
    assert isinstance(body, ast.ClassDef)
    for field, text in itertools.pairwise(body.body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            yield ast.unparse(field.target)


def test_each_parameter_is_named():
    """Two may be told in the sentence; of more, each is in the docstring, or explained below its field."""
    silent = []
    for name, value in CASES.items():
        names, text = parameters(value), docstring(value)
        if inspect.isclass(value):
            if "__init__" not in vars(value) and not issubclass(value, tuple):
                continue  # it takes what its base takes
            text += " ".join(fields_with_docstring(value))
        untold = [one for one in names if not re.search(rf"\b{re.escape(one)}\b", text)]
        if len(names) > 2 and untold:
            silent.append(f"{name}: {', '.join(untold)}")
    assert not silent, "\n".join(silent)


def raised(value):
    """Return the exceptions that a function raises by name in its own lines."""
    if getattr(value, "_is_protocol", False):
        return set()
    function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    if inspect.isclass(function):
        function = vars(function).get("__init__", None)
    if not inspect.isfunction(function):
        return set()
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except OSError:  # a dataclass's
        return set()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            exception = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(exception, ast.Name) and exception.id[0].isupper():
                found.add(exception.id)
    return found - UNTOLD


def test_what_is_raised_is_told():
    silent = []
    for name, value in CASES.items():
        text = docstring(value)
        silent += [f"{name}: {one}" for one in raised(value) if one not in text]
    assert not silent, "\n".join(silent)
