"""Writes `lambda.json` and its neighbours: what of the service models that ship inside botocore (PyPI) this crate needs to
route and to check requests. Run it again for newer models:

    tests/.venv/bin/python crates/aws/models/generate.py

Taken: each operation's method, path, status and input; the shapes that inputs are made of, with their constraints. Left
out: documentation, outputs and errors (tests compare answers with the model inside botocore itself).
"""

import gzip
import json
import pathlib

import botocore

# The operations that are taken; None: all of them.
SERVICES = {
    "lambda": None,
    "sts": ["GetCallerIdentity"],
    "iam": [
        "CreateRole", "GetRole", "ListRoles", "UpdateRole", "UpdateAssumeRolePolicy", "DeleteRole",
        "AttachRolePolicy", "DetachRolePolicy", "ListAttachedRolePolicies",
        "PutRolePolicy", "GetRolePolicy", "ListRolePolicies", "DeleteRolePolicy",
        "CreatePolicy", "GetPolicy", "ListPolicies", "DeletePolicy", "CreatePolicyVersion", "GetPolicyVersion",
        "ListPolicyVersions", "SetDefaultPolicyVersion", "DeletePolicyVersion", "TagPolicy", "UntagPolicy", "ListPolicyTags",
        "TagRole", "UntagRole", "ListRoleTags", "UpdateRoleDescription", "PutRolePermissionsBoundary",
        "DeleteRolePermissionsBoundary", "ListInstanceProfilesForRole",
    ],
    "logs": [
        "CreateLogGroup", "DeleteLogGroup", "DescribeLogGroups", "CreateLogStream", "DescribeLogStreams",
        "PutRetentionPolicy", "DeleteRetentionPolicy", "GetLogEvents", "FilterLogEvents", "StartLiveTail",
        "ListTagsForResource", "TagResource", "UntagResource",
    ],
    "events": [
        "PutRule", "DescribeRule", "ListRules", "DeleteRule", "EnableRule", "DisableRule",
        "PutTargets", "ListTargetsByRule", "RemoveTargets", "ListRuleNamesByTarget", "ListTagsForResource",
        "TagResource", "UntagResource",
    ],
    "scheduler": [
        "CreateSchedule", "GetSchedule", "UpdateSchedule", "DeleteSchedule", "ListSchedules",
        "GetScheduleGroup", "ListScheduleGroups",
    ],
    "sqs": None,
}
# Enums that the service itself does not hold clients to: ReceiveMessage takes messages' attributes where the model says a queue's,
# and an unknown one is refused with an error of SQS's own.
LOOSE = {"sqs": ["QueueAttributeName", "MessageSystemAttributeName", "MessageSystemAttributeNameForSends"]}
CONSTRAINTS = {"min": "min", "max": "max", "pattern": "pattern", "enum": "enum"}


def member(given):
    kept = {"shape": given["shape"]}
    if given.get("location") in ("uri", "querystring"):
        kept["in"] = {"uri": "path", "querystring": "query"}[given["location"]]
        kept["name"] = given["locationName"]
    elif given.get("location") == "header":
        kept["in"], kept["name"] = "header", given["locationName"].lower()
    return kept


def shape(given):
    kept = {"type": given["type"]}
    if given.get("required"):
        kept["required"] = given["required"]
    if given["type"] == "structure":
        kept["members"] = {name: member(one) for name, one in given["members"].items()}
        if "payload" in given:
            kept["payload"] = given["payload"]
    if given["type"] == "list":
        kept["member"] = given["member"]["shape"]
    if given["type"] == "map":
        kept["key"], kept["value"] = given["key"]["shape"], given["value"]["shape"]
    for name in CONSTRAINTS:
        if name in given:
            kept[name] = given[name]
    return kept


def reached(shapes, name, found):
    if name in found:
        return
    found[name] = shape(shapes[name])
    one = shapes[name]
    for inner in [m["shape"] for m in one.get("members", {}).values()]:
        reached(shapes, inner, found)
    for key in ("member", "key", "value"):
        if key in one:
            reached(shapes, one[key]["shape"], found)


def write(service, wanted):
    folder = pathlib.Path(botocore.__file__).parent / "data" / service
    newest = max(path for path in folder.iterdir() if path.is_dir())
    model = json.loads(gzip.open(newest / "service-2.json.gz").read())
    operations, shapes = {}, {}
    for name, one in sorted(model["operations"].items()):
        if wanted is not None and name not in wanted:
            continue
        http = one["http"]
        operations[name] = {
            "method": http["method"],
            "path": http["requestUri"],
            "status": http.get("responseCode", 200),
            "input": one.get("input", {}).get("shape", "Unit"),
        }
        if "input" in one:
            reached(model["shapes"], one["input"]["shape"], shapes)
    for name in LOOSE.get(service, ()):
        del shapes[name]["enum"]
    missing = set(wanted or ()) - set(operations)
    assert not missing, f"{service} has no {missing}"
    shapes.setdefault("Unit", {"type": "structure", "members": {}})
    lines = [f'  {json.dumps(name)}: {json.dumps(one)}' for name, one in operations.items()]
    more = [f'  {json.dumps(name)}: {json.dumps(one)}' for name, one in sorted(shapes.items())]
    text = '{"operations": {\n' + ",\n".join(lines) + '\n}, "shapes": {\n' + ",\n".join(more) + "\n}}\n"
    (pathlib.Path(__file__).parent / f"{service}.json").write_text(text)


def main():
    for service, wanted in SERVICES.items():
        write(service, wanted)


if __name__ == "__main__":
    main()
