"""IAM's roles and policies: records that grant nothing, as tools make them before they make a function."""

import json
import uuid

import pytest
from botocore.exceptions import ClientError

from harness import aws
from harness.checked import Checked

TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
BASIC = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"


@pytest.fixture(scope="module")
def iam(hearth):
    return Checked(aws.client(hearth, "iam"))


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture
def role(iam):
    name = f"role-{uuid.uuid4().hex[:10]}"
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), Description="a & b", Tags=[{"Key": "team", "Value": "x"}])["Role"]
    yield made
    for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
        iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=name, PolicyName=policy)
    iam.delete_role(RoleName=name)
    assert refused(iam.get_role, RoleName=name) == ("NoSuchEntity", 404)


def test_a_role_is_made_shown_changed_and_listed(iam, role):
    name = role["RoleName"]
    assert role["Arn"] == f"arn:aws:iam::000000000000:role/{name}" and role["RoleId"].startswith("AROA")
    found = iam.get_role(RoleName=name)["Role"]
    assert found["AssumeRolePolicyDocument"] == TRUST and found["Description"] == "a & b"
    assert found["Tags"] == [{"Key": "team", "Value": "x"}] and found["MaxSessionDuration"] == 3600
    assert refused(iam.create_role, RoleName=name, AssumeRolePolicyDocument="{}") == ("EntityAlreadyExists", 409)
    assert refused(iam.create_role, RoleName="other", AssumeRolePolicyDocument="no json") == ("MalformedPolicyDocument", 400)
    iam.update_role(RoleName=name, Description="c", MaxSessionDuration=7200)
    iam.update_assume_role_policy(RoleName=name, PolicyDocument='{"a": 1}')
    found = iam.get_role(RoleName=name)["Role"]
    assert (found["Description"], found["MaxSessionDuration"], found["AssumeRolePolicyDocument"]) == ("c", 7200, {"a": 1})
    assert name in [one["RoleName"] for one in iam.list_roles()["Roles"]]
    iam.tag_role(RoleName=name, Tags=[{"Key": "b", "Value": "2"}])
    iam.untag_role(RoleName=name, TagKeys=["team"])
    assert iam.list_role_tags(RoleName=name)["Tags"] == [{"Key": "b", "Value": "2"}]
    assert iam.list_instance_profiles_for_role(RoleName=name)["InstanceProfiles"] == []


def test_policies_are_attached_and_stand_in_roles(iam, role):
    name, document = role["RoleName"], json.dumps({"Version": "2012-10-17", "Statement": []})
    policy = iam.create_policy(PolicyName=f"p-{name}", PolicyDocument=document)["Policy"]
    arn = policy["Arn"]
    iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    iam.attach_role_policy(RoleName=name, PolicyArn=BASIC)
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    assert {one["PolicyName"] for one in attached} == {f"p-{name}", "AWSLambdaBasicExecutionRole"}
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"] == json.loads(document)
    assert refused(iam.delete_policy, PolicyArn=arn) == ("DeleteConflict", 409)
    assert refused(iam.delete_role, RoleName=name) == ("DeleteConflict", 409)
    assert refused(iam.attach_role_policy, RoleName=name, PolicyArn="arn:aws:iam::000000000000:policy/none") == ("NoSuchEntity", 404)
    iam.detach_role_policy(RoleName=name, PolicyArn=arn)
    iam.delete_policy(PolicyArn=arn)
    iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=document)
    assert iam.get_role_policy(RoleName=name, PolicyName="inline")["PolicyDocument"] == json.loads(document)
    assert refused(iam.get_role_policy, RoleName=name, PolicyName="none") == ("NoSuchEntity", 404)


def test_lists_come_in_pages(iam):
    names = sorted(f"page-{number}-{uuid.uuid4().hex[:6]}" for number in range(5))
    for name in names:
        iam.create_role(RoleName=name, Path="/paged/", AssumeRolePolicyDocument="{}")
    pages = iam.client.get_paginator("list_roles").paginate(PathPrefix="/paged/", PaginationConfig={"PageSize": 2})
    assert [role["RoleName"] for page in pages for role in page["Roles"]] == names
    for name in names:
        iam.delete_role(RoleName=name)


def test_policies_have_versions_and_tags(iam):
    name = f"p-{uuid.uuid4().hex[:10]}"
    arn = iam.create_policy(PolicyName=name, PolicyDocument='{"v": 1}', Tags=[{"Key": "a", "Value": "1"}])["Policy"]["Arn"]
    made = iam.create_policy_version(PolicyArn=arn, PolicyDocument='{"v": 2}', SetAsDefault=True)["PolicyVersion"]
    assert (made["VersionId"], made["IsDefaultVersion"]) == ("v2", True)
    assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v2"
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"] == {"v": 1}
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"] == {"v": 2}
    assert refused(iam.delete_policy_version, PolicyArn=arn, VersionId="v2") == ("DeleteConflict", 409)
    assert refused(iam.delete_policy, PolicyArn=arn) == ("DeleteConflict", 409)
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    assert refused(iam.get_policy_version, PolicyArn=arn, VersionId="v2") == ("NoSuchEntity", 404)
    for number in (3, 4, 5, 6):
        assert iam.create_policy_version(PolicyArn=arn, PolicyDocument="{}")["PolicyVersion"]["VersionId"] == f"v{number}"
    assert refused(iam.create_policy_version, PolicyArn=arn, PolicyDocument="{}") == ("LimitExceeded", 409)
    versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    assert [(one["VersionId"], one["IsDefaultVersion"]) for one in versions][0] == ("v1", True) and len(versions) == 5
    iam.tag_policy(PolicyArn=arn, Tags=[{"Key": "b", "Value": "2"}])
    iam.untag_policy(PolicyArn=arn, TagKeys=["a"])
    assert iam.list_policy_tags(PolicyArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    assert iam.get_policy(PolicyArn=arn)["Policy"]["Tags"] == [{"Key": "b", "Value": "2"}]
    for one in versions[1:]:
        iam.delete_policy_version(PolicyArn=arn, VersionId=one["VersionId"])
    iam.delete_policy(PolicyArn=arn)
    assert refused(iam.get_policy, PolicyArn=arn) == ("NoSuchEntity", 404)


def test_a_role_has_a_boundary_and_a_description(iam, role):
    name = role["RoleName"]
    assert "PermissionsBoundary" not in iam.get_role(RoleName=name)["Role"]
    assert refused(iam.delete_role_permissions_boundary, RoleName=name) == ("NoSuchEntity", 404)
    arn = iam.create_policy(PolicyName=f"b-{name}", PolicyDocument="{}")["Policy"]["Arn"]
    iam.put_role_permissions_boundary(RoleName=name, PermissionsBoundary=arn)
    bounded = {"PermissionsBoundaryType": "PermissionsBoundaryPolicy", "PermissionsBoundaryArn": arn}
    assert iam.get_role(RoleName=name)["Role"]["PermissionsBoundary"] == bounded
    assert refused(iam.delete_policy, PolicyArn=arn) == ("DeleteConflict", 409)
    assert iam.update_role_description(RoleName=name, Description="new")["Role"]["Description"] == "new"
    iam.delete_role_permissions_boundary(RoleName=name)
    iam.delete_policy(PolicyArn=arn)
    assert refused(iam.put_role_permissions_boundary, RoleName=name, PermissionsBoundary=arn) == ("NoSuchEntity", 404)
    made = iam.create_role(RoleName=f"b-{name}", AssumeRolePolicyDocument="{}", PermissionsBoundary=BASIC)["Role"]
    assert made["PermissionsBoundary"]["PermissionsBoundaryArn"] == BASIC
    iam.delete_role(RoleName=f"b-{name}")
