"""What a module says of itself: public names, signatures and docstrings, read from its source and never imported.

So a page is the same whichever Python writes it, and whatever is installed beside it.
"""

import ast
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDEST = 100
"""Letters of a signature on one line; of a longer one each argument has a line of its own."""


@dataclass(frozen=True)
class Attribute:
    """Something that an object has: a field, an instance attribute with words below it, or a property."""

    name: str
    kind: str
    """Its type, and the default of a field; empty where the source does not say."""
    doc: str


@dataclass(frozen=True)
class Described:
    """A class, a function, a method or an alias of a type."""

    name: str
    signature: str
    """How it is called, or what an alias stands for; empty for a class that others make."""
    arguments: tuple[str, ...]
    """Their names, as the docstring may explain them."""
    doc: str
    attributes: tuple[Attribute, ...] = ()
    methods: tuple["Described", ...] = ()


def homes(module: ast.Module, name: str) -> list[tuple[str, str]]:
    """Every name in a module's `__all__`, with the module that it comes from."""
    imported = {
        alias.asname or alias.name: node.module or ""
        for node in module.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return [(imported.get(public, name), public) for public in _all_of(module)]


def _all_of(module: ast.Module) -> list[str]:
    for node in module.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


def doc_of(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    """The docstring, without the indentation of what it describes; empty where there is none."""
    return (ast.get_docstring(node, clean=not isinstance(node, ast.Module)) or "").strip()


def described(module: ast.Module) -> dict[str, Described]:
    """Every class, function and alias of a type that a module defines, by its name, in the order of the source."""
    found: list[Described] = []
    for node, doc in _with_docs(module.body):
        match node:
            case ast.ClassDef():
                found.append(_class(node))
            case ast.FunctionDef():
                found.append(_function(node))
            case ast.AnnAssign(
                target=ast.Name(id=name), annotation=ast.Name(id="TypeAlias"), value=ast.expr() as value
            ):
                found.append(Described(name, f"{name} = {_spelled(value)}", (), doc))
    return {one.name: one for one in found if _is_public(one.name, one.doc)}


def _is_public(name: str, doc: str) -> bool:
    return not name.startswith("_") and not doc.startswith("Internal")


def _with_docs(body: Sequence[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """Each statement with the string that stands below it."""
    for node, below in zip(body, [*body[1:], None], strict=True):
        match below:
            case ast.Expr(value=ast.Constant(value=str(doc))):
                yield node, inspect.cleandoc(doc)
            case _:
                yield node, ""


def _class(node: ast.ClassDef) -> Described:
    """A class; how it is called is told unless it is a dataclass, whose fields say so, or its docstring says by what
    it is made."""
    doc = doc_of(node)
    functions = [member for member in node.body if isinstance(member, ast.FunctionDef)]
    init = next((member for member in functions if member.name == "__init__"), None)
    called = init is not None and "Made by" not in doc
    return Described(
        node.name,
        _signature(node.name, init.args, None, bound=True) if init is not None and called else "",
        _arguments(init.args) if init is not None and called else (),
        doc,
        tuple(attribute for attribute in _attributes(node, init) if _is_public(attribute.name, attribute.doc)),
        tuple(
            _function(member, bound=True)
            for member in functions
            if _is_public(member.name, doc_of(member)) and not _is_property(member)
        ),
    )


def _attributes(node: ast.ClassDef, init: ast.FunctionDef | None) -> Iterator[Attribute]:
    for member, doc in _with_docs(node.body):
        match member:
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield Attribute(name, _field_kind(member), doc)
    if init is not None:
        yield from _instance_attributes(init)
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and _is_property(member):
            yield Attribute(member.name, _spelled(member.returns), doc_of(member))


def _field_kind(field: ast.AnnAssign) -> str:
    kind = _spelled(field.annotation)
    return kind if field.value is None else f"{kind} = {_spelled(field.value)}"


def _instance_attributes(init: ast.FunctionDef) -> Iterator[Attribute]:
    """What `__init__` sets and words stand below; of what is not annotated, the type is that of the argument or the
    constant that it is set to."""
    kinds = {argument.arg: _spelled(argument.annotation) for argument in _all_arguments(init.args)}
    for node, doc in _with_docs(init.body):
        match node:
            case ast.AnnAssign(target=ast.Attribute(attr=name)) if doc:
                yield Attribute(name, _spelled(node.annotation), doc)
            case ast.Assign(targets=[ast.Attribute(attr=name)], value=ast.Name(id=argument)) if doc:
                yield Attribute(name, kinds.get(argument, ""), doc)
            case ast.Assign(targets=[ast.Attribute(attr=name)], value=ast.Constant(value=value)) if doc:
                yield Attribute(name, type(value).__name__, doc)
            case ast.Assign(targets=[ast.Attribute(attr=name)]) if doc:
                yield Attribute(name, "", doc)


def _is_property(function: ast.FunctionDef) -> bool:
    return any(isinstance(how, ast.Name) and how.id == "property" for how in function.decorator_list)


def _function(node: ast.FunctionDef, *, bound: bool = False) -> Described:
    signature = _signature(node.name, node.args, node.returns, bound=bound)
    return Described(node.name, signature, _arguments(node.args), doc_of(node))


def _all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    starred = [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *starred]


def _arguments(arguments: ast.arguments) -> tuple[str, ...]:
    return tuple(argument.arg for argument in _all_arguments(arguments))


def _signature(name: str, arguments: ast.arguments, returns: ast.expr | None, *, bound: bool) -> str:
    """How a function is called; of a `bound` one without what it is bound to. That None is returned goes unsaid."""
    parts = [*_parts(arguments)][1 if bound else 0 :]
    result = "" if returns is None or ast.unparse(returns) == "None" else f" -> {_spelled(returns)}"
    line = f"{name}({', '.join(parts)}){result}"
    if len(line) <= WIDEST:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){result}"])


def _parts(arguments: ast.arguments) -> Iterator[str]:
    positional = [*arguments.posonlyargs, *arguments.args]
    without: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults = [*without, *arguments.defaults]
    for place, (argument, default) in enumerate(zip(positional, defaults, strict=True), 1):
        yield _part(argument, default)
        if place == len(arguments.posonlyargs):
            yield "/"
    if arguments.vararg is not None:
        yield f"*{_part(arguments.vararg, None)}"
    elif arguments.kwonlyargs:
        yield "*"
    yield from map(_part, arguments.kwonlyargs, arguments.kw_defaults)
    if arguments.kwarg is not None:
        yield f"**{_part(arguments.kwarg, None)}"


def _part(argument: ast.arg, default: ast.expr | None) -> str:
    if argument.annotation is None:
        return argument.arg if default is None else f"{argument.arg}={_spelled(default)}"
    annotated = f"{argument.arg}: {_spelled(argument.annotation)}"
    return annotated if default is None else f"{annotated} = {_spelled(default)}"


def _spelled(expression: ast.expr | None) -> str:
    """An expression as the source of this project writes it: strings in double quotes."""
    if expression is None:
        return ""
    text = ast.unparse(expression)
    return text if '"' in text else text.replace("'", '"')
