"""What must hold of the chart, the alerts, the dashboard and the pages that they point to.

Run by scripts/check-chart.sh, which gets the tools. Kubernetes schemas are taken from a package, so no
cluster is needed. Kinds that operators bring (ServiceMonitor, PrometheusRule, Cluster) have no schema
there; what matters of them is asserted here.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

import kubernetes_validate
import yaml

CHART = Path(__file__).resolve().parent.parent
ROOT = CHART.parent
HELM = os.environ.get("HELM", "helm")
PROMTOOL = os.environ.get("PROMTOOL", "promtool")
SOURCES = lambda: [*(ROOT / "src").rglob("*.rs"), *(ROOT / "crates").rglob("src/**/*.rs")]
HADOLINT = os.environ.get("HADOLINT", "hadolint")
# A built program, to check the configurations that the chart makes with the real parser.
BINARY = os.environ.get("RECONCILER_BIN")

VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
# The oldest that Chart.yaml allows, and the newest with schemas.
KUBERNETES = ["1.30", kubernetes_validate.latest_version().rsplit(".", 1)[0]]
NAMESPACE = "pay"
CRDS = {"ServiceMonitor", "PrometheusRule", "Cluster"}


def run(*command, stdin=None):
    return subprocess.run(command, input=stdin, capture_output=True, text=True)


def helm(*arguments, stdin=None):
    done = run(HELM, *map(str, arguments), stdin=stdin)
    return done.returncode, done.stdout, done.stderr


def render(values, *more):
    """The objects made of a values file, or of a dict laid over the minimal one."""
    arguments = ["template", "r", CHART, "-n", NAMESPACE, *more]
    if isinstance(values, dict):
        arguments += ["-f", CHART / "ci/minimal-values.yaml", "-f", "-"]
        code, out, error = helm(*arguments, stdin=json.dumps(values))
    else:
        code, out, error = helm(*arguments, "-f", values)
    if code:
        raise AssertionError(error)
    return [thing for thing in yaml.safe_load_all(out) if thing]


def refused(values):
    """What helm says against values laid over the minimal ones."""
    try:
        render(values)
    except AssertionError as error:
        return str(error)
    raise AssertionError(f"accepted: {json.dumps(values)}")


def of_kind(things, *kinds):
    return [thing for thing in things if thing["kind"] in kinds]


def name(thing):
    return thing["metadata"]["name"]


def pods(things):
    """Every pod spec with the labels of its pods and the object that makes it."""
    for thing in things:
        if thing["kind"] == "Pod":
            yield thing, thing["metadata"]["labels"], thing["spec"]
        elif thing["kind"] in ("Deployment", "Job"):
            template = thing["spec"]["template"]
            yield thing, template["metadata"]["labels"], template["spec"]


def selected(labels, selector):
    return selector.get("matchLabels", {}).items() <= labels.items()


def config_of(things):
    [one] = [t for t in of_kind(things, "ConfigMap") if name(t).endswith("-config")]
    return tomllib.loads(one["data"]["config.toml"])


def files_of(config):
    """Every value of a …_file setting."""
    entries = [config["security"], *config["shops"], *config.get("clients", []), *config.get("subscribers", [])]
    for entry in entries:
        for key, value in entry.items():
            if key.endswith("_file"):
                yield from value if isinstance(value, list) else [value]


def known_settings():
    """The keys of each section in config.example.toml, those that are commented out included."""
    known, section = {}, None
    for line in (ROOT / "config.example.toml").read_text().splitlines():
        if match := re.match(r"\[+(\w+)\]+", line):
            section = match[1]
        elif match := re.match(r"#?(\w+) = ", line):
            known.setdefault(section, set()).add(match[1])
    return known


SECRETS = {"database": {"url", "migrate_url"}, "security": {"fingerprint_key"}, "shops": {"secret_key"}, "subscribers": {"secret"}}
# Of no other shop: one key at two shops is refused.
KEY_OF_A_FILE = (
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAw7LIiWZ8vuMs3+6RBZlq4bVawLymnHr/uO2A75QQSNTC40"
    "Q9efSaTLZjHzgfPblqcPgK0gqSnWkyC8h31ISQNzXC5AYtrUJvTv2tDfsDXzrq3dHUJbXIKKNvjqbcZL2a1CisV9fr"
    "hpySw0Q6PIOGs41nw6tuSawso/Bf98vQm6axRWYPEBLXZFZDTbGmpPj2nBLg1UkGS4WXw5HDLb5k/zPUvHkMZ+xbox"
    "xRAJ9GhJFBzTEjD1lU6bpncLLJleIhTV/ZhVen9TdLt2ubuV83SUwGSGhyfIkxk6ojTwX5cCi5PkLhXr8OcUO5na03"
    "wOv/6Q1VD56qclQasxDBQ0wyAwIDAQAB"
)
FILES = {"shops": {"public_key_file"}, "clients": {"key_sha256_file"}}
LISTENERS = {"api", "webhooks", "ops"}


class Files(unittest.TestCase):
    """For each values file in this directory."""

    def lint(self, values):
        code, out, error = helm("lint", "--strict", CHART, "-f", values)
        self.assertEqual(code, 0, out + error)

    def schemas(self, values):
        for thing in render(values):
            if thing["kind"] in CRDS:
                continue
            for version in KUBERNETES:
                try:
                    kubernetes_validate.validate(thing, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    self.fail(f"{thing['kind']} {name(thing)}, Kubernetes {version}: {error}")

    def names_are_unique_and_labels_complete(self, values):
        things = render(values)
        names = [(thing["kind"], name(thing)) for thing in things]
        self.assertEqual(len(names), len(set(names)))
        for thing in things:
            labels = thing["metadata"]["labels"]
            self.assertLessEqual(
                {"helm.sh/chart", "app.kubernetes.io/name", "app.kubernetes.io/instance",
                 "app.kubernetes.io/version", "app.kubernetes.io/managed-by"}, labels.keys())
            for value in labels.values():
                self.assertRegex(value, r"^(|[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)$")

    def pods_are_restricted(self, values):
        found = list(pods(render(values)))
        self.assertTrue(found)
        for thing, _, spec in found:
            with self.subTest(name(thing)):
                self.assertIs(spec["automountServiceAccountToken"], False)
                self.assertIs(spec["securityContext"]["runAsNonRoot"], True)
                self.assertGreater(spec["securityContext"]["runAsUser"], 0)
                self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                for container in spec["containers"]:
                    context = container["securityContext"]
                    self.assertIs(context["allowPrivilegeEscalation"], False)
                    self.assertIs(context["readOnlyRootFilesystem"], True)
                    self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                    self.assertIn("memory", container["resources"]["limits"])

    def no_secret_stands_outside_of_secrets(self, values):
        given = yaml.safe_load(values.read_text()).get("secrets", {}).get("values", {})
        for thing in render(values):
            if thing["kind"] == "Secret":
                continue
            text = json.dumps(thing)
            for key, value in given.items():
                self.assertNotIn(value, text, f"{key} in {thing['kind']} {name(thing)}")

    def config_has_known_keys_only(self, values):
        config, known = config_of(render(values)), known_settings()
        for section, table in config.items():
            for entry in table if isinstance(table, list) else [table]:
                plain = {key.removesuffix("_file") for key in entry}
                self.assertLessEqual(plain, known[section], section)
                self.assertFalse(entry.keys() & SECRETS.get(section, set()), section)
        for listener in LISTENERS:
            self.assertTrue(config[listener]["listen"].startswith("0.0.0.0:"))

    def files_are_mounted_from_keys_that_exist(self, values):
        things = render(values)
        secrets = {name(secret): secret["stringData"] for secret in of_kind(things, "Secret")}
        wanted = set(files_of(config_of(things)))
        for thing, _, spec in pods(things):
            container = spec["containers"][0]
            volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
            if "secrets" not in volumes:
                continue
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            self.assertEqual(mounts["config"], "/etc/reconciler")
            source = volumes["secrets"]["secret"]
            mounted = {f"{mounts['secrets']}/{item['path']}" for item in source["items"]}
            outside = {path for path in wanted if not path.startswith(mounts["secrets"])}
            self.assertEqual(mounted, wanted - outside, name(thing))
            for path in outside:
                self.assertTrue(any(path.startswith(at + "/") for at in mounts.values()), path)
            if source["secretName"] in secrets:
                keys = {item["key"] for item in source["items"]}
                self.assertLessEqual(keys, secrets[source["secretName"]].keys())
            for variable in container["env"]:
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference and reference["name"] in secrets:
                    self.assertIn(reference["key"], secrets[reference["name"]])

    def everything_that_selects_finds_pods(self, values):
        things = render(values)
        found = list(pods(things))
        for service in of_kind(things, "Service"):
            matching = [spec for _, labels, spec in found if service["spec"]["selector"].items() <= labels.items()]
            self.assertTrue(matching, name(service))
            for port in service["spec"]["ports"]:
                for spec in matching:
                    ports = [p["name"] for p in spec["containers"][0]["ports"]]
                    self.assertIn(port["targetPort"], ports, name(service))
        for policy in of_kind(things, "NetworkPolicy"):
            matching = [labels for _, labels, _ in found if selected(labels, policy["spec"]["podSelector"])]
            self.assertTrue(matching, name(policy))
        for budget in of_kind(things, "PodDisruptionBudget"):
            matching = [labels for _, labels, _ in found if selected(labels, budget["spec"]["selector"])]
            self.assertEqual(len(matching), 1, name(budget))
        deployments = {name(thing): thing for thing in of_kind(things, "Deployment")}
        for scaler in of_kind(things, "HorizontalPodAutoscaler"):
            target = deployments[scaler["spec"]["scaleTargetRef"]["name"]]
            self.assertNotIn("replicas", target["spec"])
        for monitor in of_kind(things, "ServiceMonitor"):
            matching = [s for s in of_kind(things, "Service") if selected(s["metadata"]["labels"], monitor["spec"]["selector"])]
            self.assertEqual([s["spec"]["ports"][0]["name"] for s in matching], [monitor["spec"]["endpoints"][0]["port"]])

    def all_roles_run_and_stop_in_time(self, values):
        things = render(values)
        config = config_of(things)
        timeout = seconds(config.get("gateway", {}).get("request_timeout", "30s"))
        drain = seconds(config.get("serve", {}).get("drain_timeout", f"{timeout + 5}s"))
        drain += seconds(config.get("serve", {}).get("shutdown_delay", "5s"))
        roles = set()
        for deployment in of_kind(things, "Deployment"):
            spec = deployment["spec"]["template"]["spec"]
            container = spec["containers"][0]
            given = [a.removeprefix("--role=") for a in container["args"] if a.startswith("--role=")]
            roles |= set(given[0].split(",")) if given else {"api", "webhooks", "engine"}
            pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            self.assertGreater(spec["terminationGracePeriodSeconds"], pause + drain)
            self.assertEqual(container["readinessProbe"]["httpGet"], {"path": "/readyz", "port": "ops"})
            for probe in ("livenessProbe", "startupProbe"):
                self.assertEqual(container[probe]["httpGet"], {"path": "/livez", "port": "ops"})
        self.assertEqual(roles, {"api", "webhooks", "engine"})

    def only_webhooks_are_reachable_from_outside(self, values):
        for ingress in of_kind(render(values), "Ingress"):
            for rule in ingress["spec"]["rules"]:
                self.assertEqual(rule["host"], "hooks.example.com")
                for path in rule["http"]["paths"]:
                    self.assertEqual(path["path"], "/webhooks/")
                    self.assertTrue(path["backend"]["service"]["name"].endswith("-webhooks"))

    def config_is_accepted_by_the_service(self, values):
        things = render(values)
        [text] = [t["data"]["config.toml"] for t in of_kind(things, "ConfigMap") if name(t).endswith("-config")]
        given = yaml.safe_load(values.read_text()).get("secrets", {}).get("values", {})
        with tempfile.TemporaryDirectory() as directory:
            for path in files_of(tomllib.loads(text)):
                base = Path(path).name
                fallback = KEY_OF_A_FILE if base.endswith(".pem") else "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
                Path(directory, base).write_text(given.get(base, fallback))
                text = text.replace(f'"{path}"', f'"{directory}/{base}"')
            file = Path(directory, "config.toml")
            file.write_text(text)
            environment = {**os.environ, "DATABASE_URL": "postgres://reconciler@localhost/reconciler"}
            done = subprocess.run([BINARY, "check-config", "--config", file], env=environment, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


def seconds(duration):
    unit = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(float(n) * unit[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", duration))


def for_each_file(case):
    """Turns each method into one test for each values file."""
    for method in [m for m in vars(case) if not m.startswith("_")]:
        body = getattr(case, method)
        delattr(case, method)
        for values in VALUES:
            def test(self, body=body, values=values):
                body(self, values)
            setattr(case, f"test_{method}: {values.stem.removesuffix('-values')}", test)


if not BINARY:
    del Files.config_is_accepted_by_the_service
for_each_file(Files)


class Chart(unittest.TestCase):
    def test_bad_values_are_refused_by_the_schema(self):
        shop = {"id": "1001", "public_key": "x"}
        bad = {
            "replicas as text": {"roles": {"all": {"replicas": "two"}}},
            "unknown key": {"replicaCount": 3},
            "unknown key of a role": {"roles": {"all": {"replica": 3}}},
            "unknown role": {"roles": {"worker": {}}},
            "unknown setting": {"config": {"gateway": {"retries": 3}}},
            "unknown section": {"config": {"redis": {}}},
            "a secret in the configuration": {"config": {"shops": [{**shop, "secret_key": "x"}]}},
            "a fingerprint key in the configuration": {"config": {"security": {"fingerprint_key": "x"}}},
            "a database address in the configuration": {"config": {"database": {"url": "postgres://a:b@c/d"}}},
            "a listener of one's own": {"config": {"api": {"listen": "127.0.0.1:8080"}}},
            "no shop": {"config": {"shops": []}},
            "a shop id that is a number": {"config": {"shops": [{**shop, "id": 1001}]}},
            "a shop id with a slash": {"config": {"shops": [{**shop, "id": "a/b"}]}},
            "no public_url": {"config": {"webhooks": {"public_url": ""}}},
            "plain http without leave": {"config": {"webhooks": {"public_url": "http://hooks.example.com"}}},
            "a duration without a unit": {"config": {"serve": {"drain_timeout": "35"}}},
            "a duration that is a number": {"config": {"serve": {"drain_timeout": 35}}},
            "a rate of zero": {"config": {"shops": [{**shop, "max_requests_per_second": 0}]}},
            "a digest of another kind": {"config": {"clients": [{"name": "a", "shops": ["*"], "scopes": ["read"], "key_sha256": "x"}]}},
            "an unknown scope": {"config": {"clients": [{"name": "a", "shops": ["*"], "scopes": ["admin"], "key_sha256": "0" * 64}]}},
            "an unknown event": {"config": {"subscribers": [{"name": "a", "url": "https://a.b", "shops": ["*"], "events": ["paid"]}]}},
            "an unknown mode": {"migrations": {"mode": "always"}},
            "a setting in the environment": {"extraEnv": [{"name": "RECONCILER__SERVE__DRAIN_TIMEOUT", "value": "9m"}]},
            "the database in the environment": {"extraEnv": [{"name": "DATABASE_URL", "value": "x"}]},
            "a digest that is none": {"image": {"digest": "latest"}},
            "a port out of range": {"services": {"api": {"port": 80800}}},
            "a policy peer that is none": {"networkPolicy": {"postgres": {"to": [{"namespace": "db"}]}}},
            "a secret with a slash": {"secrets": {"values": {"a/b": "x"}}},
            "a secret that is a number": {"secrets": {"values": {"fingerprint-key": 12345}}},
        }
        for what, values in bad.items():
            with self.subTest(what):
                self.assertIn("values don't meet the specifications of the schema", refused(values))

    def test_contradictions_are_refused_with_what_to_do(self):
        shop = {"id": "1001", "public_key": "x"}
        cases = [
            ({"stop": {"terminationGracePeriodSeconds": 40}}, "Give at least 46"),
            ({"stop": {"terminationGracePeriodSeconds": 90}, "config": {"gateway": {"request_timeout": "2m"}}}, "Give at least 136"),
            ({"config": {"shops": [{"id": "1001"}]}}, "no public_key"),
            ({"config": {"shops": [shop, shop]}}, "stands there twice"),
            ({"config": {"shops": [shop, {**shop, "id": "1002"}]}}, '"shop-1002-secret-key" is needed'),
            ({"config": {"clients": [{"name": "a", "key_sha256": "0" * 64, "shops": ["9"], "scopes": ["read"]}]}}, "names shop 9"),
            ({"config": {"subscribers": [{"name": "a b", "url": "https://a.b", "shops": ["*"]}]}}, "give \"a b\" a secret_file"),
            ({"secrets": {"values": {"fingerprint-key": "short"}}}, "less than 32 bytes"),
            ({"secrets": {"existingSecret": "x"}}, "not both"),
            ({"database": {"migrateUrlKey": "migrate-url"}}, '"migrate-url" is needed'),
            ({"cnpg": {"enabled": True}, "migrations": {"mode": "job"}}, "use start or auto"),
            ({"cnpg": {"enabled": True}, "roles": {"all": {"replicas": 20}}}, "raise it, or lower"),
            ({"ingress": {"enabled": True}, "config": {"webhooks": {"public_url": "https://a.b/pay"}}}, "has the path /pay"),
            ({"metrics": {"prometheusRule": {"enabled": True, "alerts": {"Typo": {"enabled": False}}}}}, "there is no alert Typo"),
            ({"roles": {"all": {"autoscaling": {"enabled": True, "minReplicas": 9, "maxReplicas": 3}}}}, "maxReplicas is less"),
        ]
        for values, words in cases:
            with self.subTest(words):
                self.assertIn(words, refused(values))

    def test_the_schema_knows_every_setting(self):
        schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["config"]["properties"]
        for section, keys in known_settings().items():
            secret, files = SECRETS.get(section, set()), FILES.get(section, set())
            given = {key + "_file" for key in secret} if section != "database" else set()
            expected = (keys - secret - ({"listen"} if section in LISTENERS else set())) | given | files
            table = schema[section].get("items", schema[section])
            self.assertEqual(set(table["properties"]), expected, section)

    def test_pods_restart_when_the_configuration_changes_and_only_then(self):
        def annotations(values):
            [deployment] = of_kind(render(values), "Deployment")
            return deployment["spec"]["template"]["metadata"]["annotations"]
        before = annotations({})
        self.assertEqual(before, annotations({"ingress": {"enabled": True}}))
        setting = annotations({"config": {"telemetry": {"log": "debug"}}})
        self.assertNotEqual(before["checksum/config"], setting["checksum/config"])
        secret = annotations({"secrets": {"values": {"shop-1001-secret-key": "another"}}})
        self.assertNotEqual(before["checksum/secret"], secret["checksum/secret"])

    def test_the_grace_period_follows_the_timeouts(self):
        def grace(values):
            [deployment] = of_kind(render(values), "Deployment")
            return deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        self.assertEqual(grace({}), 55)
        self.assertEqual(grace({"config": {"gateway": {"request_timeout": "1m"}}}), 85)
        self.assertEqual(grace({"config": {"serve": {"drain_timeout": "1m 30s"}}}), 110)
        self.assertEqual(grace({"config": {"serve": {"drain_timeout": "1500ms"}}}), 22)
        self.assertEqual(grace({"stop": {"terminationGracePeriodSeconds": 46}}), 46)

    def test_the_migration_comes_with_all_it_needs(self):
        things = render({})
        hooks = [t for t in things if "pre-install" in t["metadata"].get("annotations", {}).get("helm.sh/hook", "")]
        self.assertEqual({t["kind"] for t in hooks}, {"Job", "ConfigMap", "Secret", "NetworkPolicy"})
        weights = {t["kind"]: int(t["metadata"]["annotations"]["helm.sh/hook-weight"]) for t in hooks}
        self.assertEqual(max(weights, key=weights.get), "Job")
        [job] = of_kind(hooks, "Job")
        spec = job["spec"]["template"]["spec"]
        made = {name(t) for t in things if t not in hooks}
        self.assertNotIn(spec["serviceAccountName"], made)
        used = {v.get("configMap", v.get("secret", {})).get("name") or v["secret"]["secretName"] for v in spec["volumes"]}
        self.assertEqual(used, {name(job)})
        self.assertFalse(of_kind(render({"migrations": {"mode": "none"}}), "Job"))
        self.assertFalse(of_kind(render(CHART / "ci/cnpg-values.yaml"), "Job"))

    def test_a_pooler_is_for_the_service_and_not_for_the_migration(self):
        def variables(thing):
            return [v["name"] for v in thing["spec"]["template"]["spec"]["containers"][0]["env"]]
        things = render(CHART / "ci/full-values.yaml")
        [job], [deployment] = of_kind(things, "Job"), of_kind(things, "Deployment")
        self.assertIn("RECONCILER__DATABASE__MIGRATE_URL", variables(job))
        self.assertNotIn("RECONCILER__DATABASE__MIGRATE_URL", variables(deployment))

    def test_split_pods_reach_only_what_they_need(self):
        things = render(CHART / "ci/split-roles-values.yaml")
        labels = {name(t).rsplit("-", 1)[1]: l for t, l, _ in pods(of_kind(things, "Deployment"))}
        ports = {role: set() for role in labels}
        for policy in of_kind(things, "NetworkPolicy"):
            for rule in policy["spec"].get("egress", []):
                for role in labels:
                    if selected(labels[role], policy["spec"]["podSelector"]):
                        ports[role] |= {port["port"] for port in rule["ports"]}
        self.assertEqual(ports, {"api": {53, 5432, 443}, "webhooks": {53, 5432}, "engine": {53, 5432, 443}})
        listening = {name(t).rsplit("-", 1)[1]: {p["name"] for p in s["containers"][0]["ports"]} for t, _, s in pods(of_kind(things, "Deployment"))}
        self.assertEqual(listening, {"api": {"api", "ops"}, "webhooks": {"webhooks", "ops"}, "engine": {"ops"}})

    def test_a_cluster_waits_for_a_standby(self):
        [cluster] = of_kind(render(CHART / "ci/cnpg-values.yaml"), "Cluster")
        self.assertEqual(cluster["spec"]["postgresql"]["synchronous"], {"method": "any", "number": 1, "dataDurability": "required"})
        self.assertEqual(cluster["metadata"]["annotations"]["helm.sh/resource-policy"], "keep")
        [deployment] = of_kind(render(CHART / "ci/cnpg-values.yaml"), "Deployment")
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        self.assertIn("--migrate", container["args"])
        self.assertEqual(container["env"][0]["valueFrom"]["secretKeyRef"], {"name": f"{name(cluster)}-app", "key": "uri"})

    def test_after_a_restore_submits_are_looked_up_first(self):
        for values, expected in (({"afterRestore": True}, True), ({}, False)):
            [deployment] = of_kind(render(values), "Deployment")
            self.assertEqual("--after-restore" in deployment["spec"]["template"]["spec"]["containers"][0]["args"], expected)

    def test_after_a_failover_the_database_is_accepted(self):
        for values, expected in (({"afterFailover": True}, True), ({}, False), ({"afterFailover": True, "afterRestore": True}, False)):
            [deployment] = of_kind(render(values), "Deployment")
            self.assertEqual("--after-failover" in deployment["spec"]["template"]["spec"]["containers"][0]["args"], expected)

    def test_the_package_has_what_templates_read(self):
        with tempfile.TemporaryDirectory() as directory:
            code, out, error = helm("package", CHART, "-d", directory)
            self.assertEqual(code, 0, out + error)
            [package] = Path(directory).glob("*.tgz")
            files = set(run("tar", "-tzf", str(package)).stdout.split())
        self.assertLessEqual({"reconciler/dashboards/reconciler.json", "reconciler/alerts/reconciler.rules.yaml", "reconciler/values.schema.json"}, files)
        self.assertFalse([file for file in files if "/ci/" in file or file.endswith(".test.yaml")])


# Labels that a scraper or histogram adds.
GIVEN_LABELS = {"namespace", "pod", "job", "instance", "le"}


def metrics():
    """Each metric of src/metrics.rs with its labels; histograms under the names that they are read by."""
    found = {}
    for kind, metric, labels in re.findall(r'\w+: (\w+)\("(reconciler_\w+)"(?:, \[([^\]]*)\])?', (ROOT / "src/metrics.rs").read_text()):
        names = [f"{metric}_{end}" for end in ("bucket", "sum", "count")] if kind.startswith("Histogram") else [metric]
        for one in names:
            found[one] = set(re.findall(r'"(\w+)"', labels)) | GIVEN_LABELS
    return found


class Monitoring(unittest.TestCase):
    def setUp(self):
        self.rules = yaml.safe_load((CHART / "alerts/reconciler.rules.yaml").read_text())
        self.alerts = [rule for group in self.rules["groups"] for rule in group["rules"]]
        self.dashboard = json.loads((CHART / "dashboards/reconciler.json").read_text())

    def promtool(self, *arguments):
        done = run(PROMTOOL, *map(str, arguments))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def panels(self):
        return [panel for panel in self.dashboard["panels"] if panel["type"] != "row"]

    def expressions(self):
        for panel in self.panels():
            for target in panel["targets"]:
                yield panel["title"], target["expr"]

    def knows(self, expression):
        """Every metric exists and every label is one of its labels."""
        known = metrics()
        used = re.findall(r"(reconciler_\w+)(?:\{([^}]*)\})?", expression)
        self.assertTrue(used, expression)
        labels = set()
        for metric, matchers in used:
            self.assertIn(metric, known, "not in src/metrics.rs")
            labels |= known[metric]
            self.assertLessEqual(set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\s*\"", matchers)), known[metric], metric)
        for listed in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
            self.assertLessEqual({label.strip() for label in listed.split(",") if label.strip()}, labels, expression)

    def test_rules_are_well_formed(self):
        self.promtool("check", "rules", CHART / "alerts/reconciler.rules.yaml")

    def test_rules_pass_their_tests(self):
        self.promtool("test", "rules", CHART / "alerts/reconciler.test.yaml")

    def test_rules_know_their_metrics(self):
        for alert in self.alerts:
            with self.subTest(alert["alert"]):
                self.knows(alert["expr"])

    def test_words_in_rules_are_words_of_the_program(self):
        source = "\n".join(path.read_text() for path in SOURCES())
        for alert in self.alerts:
            for label, words in re.findall(r'(outcome|state|kind|verdict|status)(?:=~|!~|!=|=)"([^"]*)"', alert["expr"]):
                for word in words.split("|"):
                    if label != "status":
                        self.assertIn(f'"{word}"', source, alert["alert"])

    def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not(self):
        fires, silent = set(), set()
        for test in yaml.safe_load((CHART / "alerts/reconciler.test.yaml").read_text())["tests"]:
            for one in test["alert_rule_test"]:
                (fires if one["exp_alerts"] else silent).add(one["alertname"])
                # Several series, of which some do not fire, are a negative test as well.
                series = {re.sub(r'pod="[^"]*",?', "", s["series"]) for s in test["input_series"]}
                if 0 < len(one["exp_alerts"]) < len(series):
                    silent.add(one["alertname"])
        names = {alert["alert"] for alert in self.alerts}
        self.assertEqual(fires, names)
        self.assertEqual(silent, names)

    def test_every_alert_says_how_bad_it_is_and_what_to_do(self):
        manual = (ROOT / "docs/operations.md").read_text()
        for alert in self.alerts:
            self.assertIn(alert["labels"]["severity"], {"critical", "warning", "info"})
            self.assertEqual(alert["annotations"]["runbook_url"], f"docs/operations.md#{alert['alert'].lower()}")
            self.assertRegex(manual, rf"(?m)^#+ {alert['alert']}$")

    def test_the_chart_passes_the_rules_on_for_its_namespace(self):
        [rule] = of_kind(render(CHART / "ci/full-values.yaml"), "PrometheusRule")
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(rule["spec"], file)
            file.flush()
            self.promtool("check", "rules", file.name)
        made = {r["alert"]: r for g in rule["spec"]["groups"] for r in g["rules"]}
        dropped = {alert["alert"] for alert in self.alerts} - made.keys()
        self.assertEqual(dropped, {"ReconcilerDiscrepanciesOpen"})
        changed = made.pop("ReconcilerMoneyInDoubt")
        self.assertEqual((changed["for"], changed["labels"]["severity"]), ("30m", "critical"))
        self.assertIn("100000", changed["expr"])
        for one in made.values():
            count = len(re.findall(r"reconciler_\w+", one["expr"]))
            self.assertEqual(one["expr"].count(f'{{namespace="{NAMESPACE}"'), count, one["alert"])
            self.assertTrue(one["annotations"]["runbook_url"].startswith("https://git.example.com/reconciler/docs/"))

    def test_the_dashboard_is_sane(self):
        ids = [panel["id"] for panel in self.dashboard["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        rows = [panel["title"] for panel in self.dashboard["panels"] if panel["type"] == "row"]
        self.assertEqual(rows, ["Is money stuck?", "Is the gateway well?", "Are webhooks coming?", "Are we keeping up?", "Is the database well?"])
        taken = set()
        for panel in self.dashboard["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            self.assertLessEqual(at["x"] + at["w"], 24, panel["title"])
            self.assertFalse(taken & cells, panel["title"])
            taken |= cells
        for panel in self.panels():
            self.assertEqual(panel["datasource"]["uid"], "${datasource}")
            self.assertTrue(panel["targets"])
        variables = {variable["name"] for variable in self.dashboard["templating"]["list"]}
        self.assertEqual(variables, {"datasource", "namespace", "shop"})
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(self.panels())))
        self.assertLessEqual(used, variables | {"__rate_interval"})

    def test_the_dashboard_knows_its_metrics(self):
        for title, expression in self.expressions():
            with self.subTest(title):
                self.knows(expression)
        for variable in self.dashboard["templating"]["list"]:
            if variable["type"] == "query":
                self.knows(variable["definition"])

    def test_the_dashboard_asks_in_valid_promql(self):
        rules = [{"record": f"panel:{index}", "expr": re.sub(r"\$__rate_interval", "1m", re.sub(r"\$(namespace|shop)", ".*", expression))}
                 for index, (_, expression) in enumerate(self.expressions())]
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
            file.flush()
            self.promtool("check", "rules", file.name)

    def test_every_metric_is_shown(self):
        shown = " ".join(expression for _, expression in self.expressions())
        for metric in re.findall(r'"(reconciler_\w+)"', (ROOT / "src/metrics.rs").read_text()):
            self.assertIn(metric, shown)


class Pages(unittest.TestCase):
    def words(self, enum):
        source = (ROOT / "crates/words/src/kinds.rs").read_text()
        body = re.search(rf"(?m)^    {enum} \{{(.*?)^    \}}", source, re.S)[1]
        return re.findall(r'= "(\w+)"', body)

    def test_finance_reads_about_every_state_and_every_finding(self):
        page = (ROOT / "docs/finance.md").read_text()
        for word in self.words("State") + self.words("DiscrepancyKind"):
            self.assertIn(f"`{word}`", page)

    def test_links_lead_somewhere(self):
        for page in ("operations.md", "finance.md"):
            text = (ROOT / "docs" / page).read_text()
            for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
                file = ROOT / "docs" / target if target else ROOT / "docs" / page
                self.assertTrue(file.exists(), f"{page}: {target}")
                if anchor:
                    heads = re.findall(r"(?m)^#+ (.*)$", file.read_text())
                    anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
                    self.assertIn(anchor, anchors, page)

    def test_the_image_is_built_from_all_that_the_source_includes(self):
        allowed = re.findall(r"(?m)^!(.*)$", (ROOT / ".dockerignore").read_text())
        for file in SOURCES():
            if "tests" in file.parts or file.name == "tests.rs":
                continue
            for path in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]*)"', file.read_text()):
                included = (file.parent / path).resolve().relative_to(ROOT)
                found = {included.parts[0], str(included)} & set(allowed)
                self.assertTrue(found, f"{file.relative_to(ROOT)} includes {included}")

    def test_the_image_is_linted(self):
        done = run(HADOLINT, str(ROOT / "Dockerfile"))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    with open(os.devnull, "w") as quiet:
        result = unittest.TextTestRunner(stream=quiet, verbosity=0).run(suite)
    bad = result.failures + result.errors
    for test, trace in bad:
        print(f"FAILED {test}\n{trace}")
    failed = len({str(test).split(" [")[0].split(" (")[0] for test, _ in bad})
    print(f"{result.testsRun - failed} passed, {failed} failed")
    sys.exit(bool(bad))
