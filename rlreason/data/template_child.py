"""Renders a chat template where it can do no harm; started by `chat` and by nothing else.

A template is a program from outside. jinja's sandbox keeps it from files and processes, not from `'x' * 4000000000` or
nested loops of 100,000 each. This process has two seconds of the processor and little memory. It reads the template
and conversations as JSON and prints one line for what is too large; templates may refuse a conversation as they like.
Knows jinja2 alone, so that it starts at once.
"""

import json
import resource
import sys
from typing import Any, NoReturn

from jinja2 import TemplateError, ext, nodes, parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_S = 2
MEMORY_BYTES = 1 << 29
MAX_CHARACTERS = 1 << 20
TOO_LARGE = 3
"""Exit status where the first line of the output says what is too large."""
FAULTS = (
    TemplateError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a template may raise; whoever renders it next tells."""


class Generation(ext.Extension):
    """`{% generation %}` as a block of no effect."""

    tags = {"generation"}  # noqa: RUF012  (declared by jinja)

    def parse(self, parser: parser.Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    asked = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    environment.globals.update(raise_exception=_refuse, strftime_now=lambda form: form)
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False)
    try:
        template = environment.from_string(asked["template"])
    except MemoryError:
        _too_large("wants more memory than 512 MiB")
    except FAULTS:
        return
    for conversation in asked["conversations"]:
        for prompt in (False, True):
            _render(template, {**asked["special"], "messages": conversation, "add_generation_prompt": prompt})


def _render(template: Any, values: dict[str, Any]) -> None:
    num_characters = 0
    try:
        for piece in template.generate(**values):
            num_characters += len(piece)
            if num_characters > MAX_CHARACTERS:
                _too_large(f"writes more than {MAX_CHARACTERS:,} characters for a short conversation")
    except MemoryError:
        _too_large("wants more memory than 512 MiB")
    except FAULTS:
        return


def _too_large(what: str) -> NoReturn:
    print(what)
    sys.exit(TOO_LARGE)


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)


if __name__ == "__main__":
    main()
