"""A remote sandbox: any service that speaks SandboxFusion's HTTP interface (`POST /run_code`).

The program and its input are sent; expected outputs and tests stay here. Isolation is the service's business and is
reported as `remote`. Scripts and calls of functions only: assert tests would have to be sent along.
"""

import base64
import json
import secrets
from typing import Any

from rlreason.sandbox import codec
from rlreason.sandbox.host import LOADER, SOURCES, Ended
from rlreason.sandbox.http import HttpError, TooLong, check_url, post_json, token_of
from rlreason.sandbox.pool import MAX_OUTPUT_BYTES, SandboxError

MAX_RETRIES = 2
MAX_REPLY_BYTES = 4 * MAX_OUTPUT_BYTES
"""Two outputs, escaped as JSON."""
_FAR_MODULES = ("framing", "nodes", "codec", "prelude", "solution")
# A program gets there the names that it has here, and is called as here; it need not be installed there.
_LAUNCHER = f"""
import base64
{LOADER}
add_all(json.loads(base64.b64decode(SOURCES)))
from rlreason.sandbox import prelude, solution
if hasattr(sys, "set_int_max_str_digits"): sys.set_int_max_str_digits(0)
given = prelude.builtins_module()
PROGRAM = compile(base64.b64decode(PROGRAM), "solution.py", "exec")
"""
_SCRIPT = """
scope = {"__name__": "__main__"}
prelude.install(given, scope)
exec(PROGRAM, scope)
"""
_CALL = """
module = types.ModuleType("solution")
prelude.install(given, module.__dict__)
exec(PROGRAM, module.__dict__)
request = json.loads(sys.stdin.read())
mark = request.pop("mark")
print(mark + json.dumps(solution.answer(module, request, [])))
"""


class RemoteSandbox:
    """One service."""

    def __init__(self, url: str, *, token_env: str | None = None) -> None:
        """`url` such as http://10.0.0.5:8080; `token_env` names the variable that holds a bearer token."""
        check_url(url)
        token_of(token_env)
        self.url, self._token_env = url.rstrip("/"), token_env

    def script(self, source: bytes, stdin: bytes, *, timeout_s: float = 10.0, memory_bytes: int = 512 << 20) -> Ended:
        """As `pool.Sandbox.script`. SandboxError if the service does not run it."""
        return self._run(_launched(source, _SCRIPT), stdin, timeout_s, memory_bytes)

    def _run(self, code: str, stdin: bytes, timeout_s: float, memory_bytes: int) -> Ended:
        order = {
            "code": code,
            "language": "python",
            "stdin": stdin.decode(),
            "compile_timeout": timeout_s,
            "run_timeout": timeout_s,
            "memory_limit_MB": memory_bytes >> 20,
        }
        try:
            reply = post_json(
                f"{self.url}/run_code",
                order,
                token_env=self._token_env,
                max_retries=MAX_RETRIES,
                timeout_s=4 * timeout_s + 20,  # so that the first try may take twice the program's own, and queue
                max_reply_bytes=MAX_REPLY_BYTES,
            )
        except TooLong:  # of what the program printed
            return Ended(status=1, timed_out=False, overflowed=True, outputs=(b"", b""))
        except HttpError as error:
            raise SandboxError(f"remote sandbox {error}") from None
        reply = reply if isinstance(reply, dict) else {}
        last = reply.get("run_result") or reply.get("compile_result")
        if reply.get("status") == "SandboxError" or not isinstance(last, dict):
            raise SandboxError(f"remote sandbox {self.url}: {reply.get('message') or 'no result'}")
        outputs = tuple((last.get(name) or "").encode(errors="replace") for name in ("stdout", "stderr"))
        ended_with = last.get("return_code")
        return Ended(
            status=ended_with if isinstance(ended_with, int) else 1,
            timed_out=last.get("status") == "TimeLimitExceeded",
            overflowed=len(outputs[0]) > MAX_OUTPUT_BYTES,
            outputs=outputs,
        )

    def call(self, source: bytes, test: dict[str, Any], name: str, *, timeout_s: float, memory_bytes: int) -> Any:
        """What the function returns. SandboxError as above; ValueError if it returned nothing that can be read."""
        mark = secrets.token_hex(16)
        given = {"mark": mark, "name": name, "plain": True, "args": test["args"], "kwargs": test["kwargs"]}
        ended = self._run(_launched(source, _CALL), json.dumps(given).encode(), timeout_s, memory_bytes)
        if ended.timed_out:
            raise TimeoutError
        _, found, body = ended.outputs[0].decode(errors="replace").rpartition(mark)
        if not found:
            raise ValueError("the function did not return")
        reply = json.loads(body)
        if "failed" in reply:
            raise ValueError(": ".join(map(str, reply["failed"])))
        return codec.decode(reply["value"])


def _launched(source: bytes, then: str) -> str:
    sources = json.dumps([pair for pair in SOURCES if pair[0] in _FAR_MODULES]).encode()
    parts = {"SOURCES": base64.b64encode(sources).decode(), "PROGRAM": base64.b64encode(source).decode()}
    return "".join(f"{name} = {text!r}\n" for name, text in parts.items()) + _LAUNCHER + then
