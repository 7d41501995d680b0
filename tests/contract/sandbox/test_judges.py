"""Programs and tests that were written for other judges get at both levels what those judges give them."""

import importlib.util
from typing import Any

import pytest

from rlreason.rewards.code import check, reward
from rlreason.rewards.code import checker as code
from rlreason.sandbox.languages import LANGUAGES, missing_tool
from rlreason.sandbox.pool import Sandbox, SandboxUnavailable
from rlreason.types import Score, Task

pytestmark = pytest.mark.usefixtures("level")


def prints(program: str, given: str, expected: str, **options: Any) -> Score:
    return check(program, [{"type": "stdio", "input": given, "output": expected}], **options)


def returns(program: str, *cases: tuple[list[Any], Any], **options: Any) -> Score:
    tests = [{"type": "call", "args": args, "expected": expected} for args, expected in cases]
    return check(program, tests, entry_point="f", **options)


def asserts(program: str, test: str, **options: Any) -> Score:
    return check(program, [{"type": "assert", "code": test}], **options)


NAMES = {
    "Counter('aab')['a']": "2",
    "defaultdict(int)[0], deque([1])[0], OrderedDict(a=1)['a']": "(0, 1, 1)",
    "min(inf, 3), -inf < 0, nan != nan, pi > 3": "(3, True, True, True)",
    "heappop([1, 2]), nlargest(1, [1, 2]), heapq.nsmallest(1, [2, 1])": "(1, [2], [1])",
    "bisect_left([1, 2], 2), bisect([1, 2], 1), bisect.bisect_right([1, 2], 1)": "(1, 1, 1)",
    "reduce(lambda a, b: a * b, [1, 2, 3]), functools.reduce(max, [1, 2])": "(6, 2)",
    "list(accumulate([1, 2])), list(pairwise('abc'))[0], len(list(permutations('abc')))": "([1, 3], ('a', 'b'), 6)",
    "gcd(4, 6), lcm(4, 6), isqrt(10), comb(4, 2), ceil(1.2), math.floor(1.2), log2(8)": "(2, 12, 3, 6, 2, 1, 3.0)",
    "ascii_lowercase[0], string.digits[0], capwords('a')": "('a', '0', 'A')",
    "re.sub('a', 'b', 'a'), findall('a', 'aa'), itemgetter(0)([1]), operator.add(1, 2)": "('b', ['a', 'a'], 1, 3)",
    "datetime.date(2024, 1, 2).day, date(2024, 1, 2).day, timedelta(1).days, datetime(2024, 1, 2).day": "(2, 2, 1, 2)",
    "deepcopy([1]), copy.deepcopy([1]), copy([1])": "([1], [1], [1])",
    "random.Random(1) is not None, randint(1, 1), random.choice([1])": "(True, 1, 1)",
    "mean([1, 3]), statistics.median([1]), loads('[1]'), json.dumps(1), StringIO('a').read()": "(2, 1, [1], '1', 'a')",
    "pow(2, 3, 5), open is not None, maxsize > 0, time.time() > 0, os.sep": "(3, True, True, True, '/')",
    "ListNode(1).val, TreeNode().val, Optional[List[int]] is not None": "(1, 0, True)",
}


@pytest.mark.parametrize("expression", NAMES)
def test_the_names_that_judges_import_are_there(expression: str) -> None:
    assert prints(f"print(repr(({expression})))", "", NAMES[expression]).value == 1.0
    score = returns(f"def f(): return repr(({expression}))", ([], NAMES[expression]))
    assert score.value == 1.0, score.detail


def test_a_programs_own_names_come_first_and_no_line_moves() -> None:
    assert (
        prints("def count(x): return 7\ngcd = 5\nprint(count(1), gcd)\ndel gcd\nprint(gcd(4, 6))", "", "7 5\n2").value
        == 1
    )
    assert "line 3" in code._backends["landlock", None].script(b"\n\n1 / 0", b"").outputs[1].decode()
    assert prints("print('Counter' in globals(), 'gcd' in dir())", "", "False False").value == 1.0
    assert returns("class Solution:\n    def f(self, x): return x", ([1], 1)).value == 1.0
    method = "class Solution:\n    def count(self, x): return x"
    assert check(method, [{"type": "call", "args": [1], "expected": 1}], entry_point="count").value == 1.0
    assert prints("import builtins\nbuiltins.print = lambda *a: None\nprint(1)", "", "").value == 1.0


def test_the_judge_has_none_of_these_names() -> None:
    names = "[name for name in ('Counter', 'inf', 'ListNode', 'List') if hasattr(builtins, name)]"
    assert asserts("def f(): return []", f"import builtins\nassert f() == {names}").value == 1.0


HEADER = """
from collections import *
from math import *
inf = float('inf')
class ListNode:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next
def list_node(values: list):
    head = None
    for value in reversed(values):
        head = ListNode(value, head)
    return head
def is_same_list(p1, p2):
    if p1 is None and p2 is None:
        return True
    if not p1 or not p2:
        return False
    return p1.val == p2.val and is_same_list(p1.next, p2.next)
class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right
def tree_node(values: list):
    nodes = [None if value is None else TreeNode(value) for value in values]
    rest = iter(nodes[1:])
    for node in filter(None, nodes):
        node.left, node.right = next(rest, None), next(rest, None)
    return nodes[0] if nodes else None
def is_same_tree(p, q):
    if not p or not q:
        return not p and not q
    return p.val == q.val and is_same_tree(p.left, q.left) and is_same_tree(p.right, q.right)
"""
REVERSE = """
class Solution:
    def reverseList(self, head: Optional[ListNode]) -> Optional[ListNode]:
        before = None
        while head:
            head.next, before, head = before, head, head.next
        return before
"""
INVERT = """
class Solution:
    def invertTree(self, root: Optional[TreeNode]) -> Optional[TreeNode]:
        if root:
            root.left, root.right = self.invertTree(root.right), self.invertTree(root.left)
        return root
"""
# (right program, what makes it wrong, entry point, test)
LEETCODE = {
    "list": (REVERSE, ("return before", "return head"), "Solution().reverseList", """
def check(candidate):
    assert is_same_list(candidate(head = list_node([1,2,3])), list_node([3,2,1]))
    assert is_same_list(candidate(head = list_node([])), list_node([]))
    long = list(range(3000))
    assert is_same_list(candidate(head = list_node(long)), list_node(long[::-1]))
"""),
    "tree": (INVERT, ("return root", "return None"), "Solution().invertTree", """
def check(candidate):
    assert is_same_tree(candidate(root = tree_node([4,2,7,1,3,6,9])), tree_node([4,7,2,9,6,3,1]))
    assert is_same_tree(candidate(tree_node([1,None,2])), tree_node([1,2]))
"""),
    "tree to number": (
        "class Solution:\n    def maxDepth(self, root):\n"
        "        return 1 + max(self.maxDepth(root.left), self.maxDepth(root.right)) if root else 0",
        ("1 +", "0 +"), "Solution().maxDepth", """
def check(candidate):
    assert candidate(root = tree_node([3,9,20,None,None,15,7])) == 3
    assert candidate(root = tree_node([])) == 0
"""),
    "in place": (
        "class Solution:\n    def drop(self, head): head.next = head.next.next", ("head.next.next", "None"),
        "Solution().drop", """
def check(candidate):
    head = list_node([1,2,3])
    candidate(head)
    assert is_same_list(head, list_node([1,3]))
"""),
    "a list that meets itself": (
        "class Solution:\n    def f(self, head):\n        slow = fast = head\n        while fast and fast.next:\n"
        "            slow, fast = slow.next, fast.next.next\n"
        "            if slow is fast: return True\n        return False",
        ("return True", "return False"), "Solution().f", """
def check(candidate):
    head = list_node([1,2,3])
    assert candidate(head) == False
    head.next.next.next = head.next
    assert candidate(head) == True
"""),
}  # fmt: skip


@pytest.mark.parametrize(("right", "change", "entry_point", "test"), LEETCODE.values(), ids=LEETCODE)
@pytest.mark.parametrize("with_header", [True, False])
def test_rows_of_leetcode(right: str, change: tuple[str, str], entry_point: str, test: str, with_header: bool) -> None:
    columns = {"test": test, "entry_point": entry_point, **({"prompt": HEADER} if with_header else {})}
    task = Task(id="t", prompt="Solve it.", columns=columns)
    score = reward(f"```python\n{right}\n```", task)
    assert score.value == 1.0, score.detail
    own = "class ListNode:\n    def __init__(self, x): self.val, self.next = x, None\n"
    assert reward(f"```python\n{own}{right}\n```", task).value == 1.0
    assert change[0] in right
    wrong = reward(f"```python\n{right.replace(*change)}\n```", task)
    assert (wrong.value, wrong.status) == (0.0, "wrong")


def test_call_tests_give_lists_and_trees_where_the_annotations_ask_for_them() -> None:
    def called(program: str, *cases: tuple[list[Any], Any]) -> float:
        name = program.partition("def ")[2].partition("(")[0]
        tests = [{"type": "call", "args": args, "expected": expected} for args, expected in cases]
        return check(program, tests, entry_point=name).value

    assert called(REVERSE, ([[1, 2, 3]], [3, 2, 1]), ([[]], []), ([None], None)) == 1.0
    assert called(REVERSE, ([[1, 2, 3]], [3, 2])) == called(REVERSE, ([[1]], [])) == 0.0
    assert called(INVERT, ([[4, 2, 7, 1]], [4, 7, 2, None, None, None, 1]), ([[1, None, 2]], [1, 2])) == 1.0
    lists = (
        "class Solution:\n    def merge(self, lists: List[Optional[ListNode]]) -> 'Optional[ListNode]':\n"
        "        values = []\n        for node in lists:\n"
        "            while node: values.append(node.val); node = node.next\n"
        "        first = None\n"
        "        for value in sorted(values)[::-1]: first = ListNode(value, first)\n        return first"
    )
    assert called(lists, ([[[1, 4], [], [2]]], [1, 2, 4]), ([[]], [])) == 1.0
    trees = "def trees(n: int) -> List[Optional[TreeNode]]: return [TreeNode(n, None, TreeNode(2)), None]"
    assert called(trees, ([1], [[1, None, 2], []])) == 1.0
    circle = "def f(x) -> ListNode:\n    node = ListNode(1)\n    node.next = node\n    return node"
    assert called(circle, ([1], [1])) == 0.0
    assert called("def f(x): return None", ([1], [])) == 0.0


STDIN = {
    "python": "print(open('/dev/stdin').read())",
    "pathlib": "import pathlib\nprint(pathlib.Path('/dev/stdin').read_text())",
    "by lines": "for line in open('/dev/stdin', 'rb'): print(int(line))",
    "fileinput": "import fileinput\nprint(next(fileinput.input('/dev/stdin')))",
    "os.open": "print(os.read(os.open('/dev/stdin', os.O_RDONLY), 9).decode(), file=open('/dev/stdout', 'w'))",
    "descriptor": "print(open('/dev/fd/0').read())",
    "process's own": "print(open('/proc/self/fd/0').read())",
}
FOREIGN = {
    "javascript": "console.log(require('fs').readFileSync('/dev/stdin', 'utf8'))",
    "cpp": "#include <fstream>\n#include <iostream>\n"
    'int main() { int n; std::ifstream("/dev/stdin") >> n; std::cout << n; }',
}


@pytest.mark.parametrize("program", STDIN.values(), ids=STDIN)
def test_the_input_can_be_opened_by_its_path(program: str) -> None:
    score = prints(program, "42\n", "42")
    assert score.value == 1.0, score.detail


@pytest.mark.parametrize("name", FOREIGN)
def test_the_input_of_other_languages_can_be_opened_by_its_path(name: str) -> None:
    if missing_tool(LANGUAGES[name]) is not None:
        pytest.skip("not installed")
    tests = [{"type": "stdio", "input": f"{n}\n", "output": str(n)} for n in (42, 7)]
    limits: dict[str, Any] = {"timeout_s": 40.0, "memory_bytes": 1 << 30}
    score = check(f"```{name}\n{FOREIGN[name]}\n```", tests, languages=[name], **limits)
    assert score.value == 1.0, score.detail


RECURSION = {
    "function": ("def g(n): return n and 1 + g(n - 1)", 49_000),
    "cached": ("@cache\ndef g(n): return n and 1 + g(n - 1)", 24_000),
    "through C": ("def g(n): return n and 1 + max(map(g, [n - 1]))", 15_000),
    "method": ("class A:\n    def __getitem__(self, n): return n and 1 + self[n - 1]\ng = A().__getitem__", 15_000),
}


@pytest.mark.parametrize(("program", "depth"), RECURSION.values(), ids=RECURSION)
def test_recursion_goes_as_deep_as_on_other_judges(program: str, depth: int) -> None:
    score = prints(f"{program}\nprint(g({depth}))", "", str(depth))
    assert score.value == 1.0, score.detail
    assert returns(f"{program}\ndef f(n): return g(n)", ([depth], depth)).value == 1.0


def test_an_endless_recursion_ends() -> None:
    assert prints("def f(): f()\ntry: f()\nexcept RecursionError: print(1)", "", "1").value == 1.0


def test_integers_may_be_of_any_length() -> None:
    digits = "9" * 5000
    assert prints("print(int(input()) + 1)", digits, "1" + "0" * 5000).value == 1.0
    assert prints(f"print(len(str({digits} * 10)))", "", "5001").value == 1.0
    huge = 7**9000
    assert returns("def f(x): return int(str(x))", ([huge], huge), ([1], 1)).value == 1.0
    assert returns("def f(x): return int(str(x)) + 1", ([huge], huge)).value == 0.0
    assert (
        asserts("def f(n): return 10 ** n", f"assert f(5000) == 1{'0' * 5000}\nassert str(f(5000))[0] == '1'").value
        == 1.0
    )
    assert asserts("def f(n): return 10 ** n + 1", f"assert f(5000) == 1{'0' * 5000}").status == "wrong"


def test_ten_megabytes_may_be_printed() -> None:
    assert prints("print('x' * 10_000_000)", "", "x" * 10_000_000).value == 1.0


def test_an_exit_status_after_a_right_answer_counts_unless_it_is_ignored() -> None:
    for ending in ("exit(1)", "exit('done')", "1 / 0", "raise KeyboardInterrupt"):
        program = f"print(42)\n{ending}"
        assert prints(program, "", "42").value == 0.0
        assert prints(program, "", "42", ignore_exit_status=True).value == 1.0
        assert prints(program, "", "43", ignore_exit_status=True).value == 0.0
    assert prints("print(42, flush=True)\nos.abort()", "", "42", ignore_exit_status=True).value == 0.0


SUITES = {
    "from solution": "from solution import f\nassert f(1) == 2",
    "import solution": "import solution as s\nassert s.f(1) == 2",
    "everything from solution": "from solution import *\nassert f(1) == 2",
    "functions": "from solution import f\ndef test_a():\n    assert f(1) == 2\ndef test_b():\n    assert f(2) == 3",
    "functions that are called": "def test_a(x):\n    assert f(x) == x + 1\ntest_a(1)\ntest_a(2)",
    "class": "class TestF:\n    def test_a(self): assert f(1) == 2\n    def test_b(self): assert f(2) == 3",
    "unittest": (
        "import unittest\nfrom solution import f\nclass FTest(unittest.TestCase):\n    def setUp(self): self.x = 2\n"
        "    def test_a(self): self.assertEqual(f(1), 2)\n    def test_b(self): self.assertEqual(f(self.x), 3)\n"
        "if __name__ == '__main__':\n    unittest.main()"
    ),
    "unittest.main alone": (
        "import unittest\nclass FTest(unittest.TestCase):\n    def test_a(self): self.assertEqual(f(1), 2)\n"
        "    def test_b(self): self.assertEqual(f(2), 3)\nunittest.main()"
    ),
    "main guard": "if __name__ == '__main__':\n    assert f(1) == 2\n    assert f(2) == 3",
    "check behind a main guard": (
        "def check(c):\n    assert c(1) == 2 and c(2) == 3\nif __name__ == '__main__':\n    check(f)"
    ),
}


@pytest.mark.parametrize("test", SUITES.values(), ids=SUITES)
def test_tests_that_a_tool_would_run_are_run(test: str) -> None:
    score = asserts("def f(x): return x + 1", test)
    assert score.value == 1.0, score.detail
    for wrong in ("def f(x): return 3 * x - 2", "def f(x): raise ValueError", "def f(x): raise SystemExit", "pass"):
        assert asserts(wrong, test).status == "wrong"


def test_a_program_behind_its_tasks_header() -> None:
    """HumanEval's prompts define helpers that an answer need not repeat."""
    prompt = "import hashlib\ndef twice(x):\n    return 2 * x\n\ndef f(x):\n    '''Four times x.'''\n"
    columns = {"entry_point": "f", "test": "def check(candidate):\n    assert candidate(2) == 8"}
    answer = "def f(x):\n    assert hashlib\n    return twice(twice(x))\n"
    for told in (prompt, f"Complete this:\n```python\n{prompt}```"):
        task = Task(id="t", prompt=told, columns=columns)
        assert reward(f"```python\n{answer}```", task).value == 1.0
        assert reward(f"```python\n\ufeff{answer}```", task).value == 1.0
        assert reward(f"```python\n{answer}def twice(x): return x\n```", task).value == 0.0
        futures = f"from __future__ import annotations\nimport hashlib\ndef twice(x): return 2 * x\n{answer}"
        assert reward(f"```python\n{futures}```", task).value == 1.0


@pytest.fixture(scope="module")
def with_numpy(sandbox: Sandbox) -> Any:
    if importlib.util.find_spec("numpy") is None:
        pytest.skip("numpy is not installed")
    opened = Sandbox(level=sandbox.level, packages=("numpy",))
    try:
        opened.start()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    yield opened
    opened.close()


def test_packages_are_there_where_they_are_named(with_numpy: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(code._backends, ("landlock", None, "numpy"), with_numpy)
    program = (
        "import numpy as np\ndef f(x): return np.array(x) * 2\nif __name__ == '__main__': print(np.sum(f([1, 2])))"
    )
    assert prints(program, "", "6").status == "wrong"
    options: dict[str, Any] = {"packages": ["numpy"]}
    assert prints(program, "", "6", **options).value == 1.0
    assert returns(program, ([[1, 2]], [2, 4]), ([[0.5]], [1.0]), **options).value == 1.0
    assert returns(program, ([[1, 2]], [2, 5]), **options).value == 0.0
    test = "import numpy as np\nx = f(np.array([1.0, 2.0]))\nassert x.shape == (2,) and np.allclose(x, [2, 4])"
    assert asserts(program, test, **options).value == 1.0
    assert asserts(program.replace("2 ", "3 ").replace("* 2", "* 3"), test, **options).value == 0.0
    assert asserts(program, test).status == "verifier_error"
    reads = "import numpy, os\nfolder = os.path.dirname(numpy.__path__[0])\n"
    for attack in ("os.listdir(folder)", "import pytest", "open('/etc/passwd')", "os.fork()"):
        assert prints(f"{reads}{attack}\nprint(1)", "", "1", **options).value == 0.0, attack


def test_the_options_of_call_tests() -> None:
    pair = "def f(): return (1, [2, (3,)])"
    assert returns(pair, ([], [1, [2, [3]]])).value == 1.0
    assert returns(pair, ([], [1, [2, [3]]]), tuples_as_lists=False).value == 0.0
    assert returns(pair, ([], (1, [2, (3,)])), tuples_as_lists=False).value == 1.0
    third = [{"type": "call", "args": [], "expected": [1 / 3, {"a": 2}], "tolerance": 1e-3}]
    assert check("def f(): return [0.3333, {'a': 2.001}]", third, entry_point="f").value == 1.0
    assert check("def f(): return [0.33, {'a': 2}]", third, entry_point="f").value == 0.0
    for returned, value in (("1", 1.0), ("True", 1.0), ("2", 0.0), ("0", 0.0), ("'1'", 0.0), ("None", 0.0)):
        assert returns(f"def f(): return [{returned}]", ([], [True])).value == value
