# Reads lines of JSON: a text of YAML before and after an edit, and where the new value must be. Everything else must
# be as it was.
import json
import sys

import yaml

try:
    from yaml import CSafeLoader as Loader
except ImportError:
    from yaml import SafeLoader as Loader


def load(text):
    return list(yaml.load_all(text, Loader=Loader))


def take(documents, at):
    node = documents
    for step in at[:-1]:
        node = node[int(step) if isinstance(node, list) else step]
    last = int(at[-1]) if isinstance(node, list) else at[-1]
    return node, last


count = 0
for line in sys.stdin:
    case = json.loads(line)
    old, new = load(case["old"]), load(case["new"])
    node, last = take(new, case["at"])
    if node[last] != case["value"] or not isinstance(node[last], str):
        sys.exit(f"{node[last]!r} is read, not {case['value']!r}:\n{case['new']}")
    try:
        before, _ = take(old, case["at"])
        node.pop("digest", None)
        before.pop("digest", None)
        node.pop(last)
        before.pop(last, None)
    except (IndexError, KeyError):
        take(new, case["at"][:-1])[0].pop()
    if old != new:
        sys.exit(f"something else changed:\n{case['old']}\n--\n{case['new']}")
    count += 1
print(count, "read")
