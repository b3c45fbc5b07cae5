"""The alert rules for Prometheus: each kind of fault fires exactly its alert, and a healthy relay none.

promtool (Debian: prometheus) evaluates them over series as a relay and a bridge export them: names and labels
come from `astropix_relay.metrics` and `astropix_bridge.metrics` themselves.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from astropix_bridge import metrics as bridge
from astropix_relay.clients.gate import DoorSample
from astropix_relay.metrics import metrics
from astropix_relay.samples import OutletSample, Sample, StreamSample, Turns
from astropix_stream.counting.state import State
from astropix_stream.multicast.sockets import SocketMemory

RULES = Path(__file__).parents[2] / "config/prometheus/astropix-alerts.yml"
ALERTS = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
CAUSES = (
    "full",
    "unknown key",
    "other security",
    "wrong server key",
    "provider",
    "timeout",
    "aborted",
    "pace",
)
INSTANCES = {"astropix-relay": "relay:9108", "astropix-bridge": "bridge:9109"}
MINUTES = 2  # samples in one
FAULT_AT = 12 * MINUTES  # all is healthy until then
HALF = f"x{FAULT_AT}"


@pytest.fixture
def promtool():
    if shutil.which("promtool") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("promtool is missing (prometheus)")

    def run(*words):
        done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def exported(found):
    """Every series of metrics, with its value."""

    class Registry:
        def collect(self):
            return found

    families = text_string_to_metric_families(generate_latest(Registry()).decode())
    return {
        (one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples
    }


def healthy_series():
    """Every series that a relay and a bridge export, with its labels, and a value that a healthy one has."""
    lost = {"before_socket": 0, "in_kernel": 0, "rejected": {}}
    source = lost | {
        "address": "10.0.0.1", "port": 40_000, "received": 9, "duplicates": 0, "reordered": 0, "late": 0,
        "runs": 1, "shared": False, "implausible": False,
    }  # fmt: skip
    report = {
        "state": "live", "received": 9, "published": 9, "kernel_dropped": 0, "rejected": {}, "joined": True,
        "last_readout_age_s": 0.1, "lag_s": 0.01, "sources": [source], "totals": lost,
        "hops": [{}, {"lost": {"between_relays": 0}}],
    }  # fmt: skip
    rejoins = dict.fromkeys(("interface", "forgotten", "silence"), 0)
    stream = StreamSample("astropix", report, 8, 9000, SocketMemory(0, 4096, 0), rejoins)
    door = DoorSample("publish", 2, 3, 4, dict.fromkeys(CAUSES, 0), {"too much sent": 0})
    output = OutletSample("astropix", "239.1.1.1:5007", 15, {"ENOBUFS": 0})
    turns = Turns()
    taken = Sample(0.0, "1.2", 77, [stream], [door], 6, 0, {"ok": 0}, turns.counts, 0.0, 0)
    taken = taken._replace(outlets=[output])
    stored = bridge.StreamSample("astropix", State.LIVE, 9, 2, 500, 1, 90, 0.1, 1, 0, 0, {})
    mirror = bridge.MirrorSample("astropix", 0, 0.5)
    ups = {("up", frozenset({("job", job)})): 1.0 for job in INSTANCES}
    of_bridge = exported(bridge.metrics(bridge.Sample(0.0, "1.2", True, 1, [stored], [mirror])))
    return ups | exported(metrics(taken)) | of_bridge


def written(key):
    """Write a series as promtool's tests do."""
    name, labels = key
    job = dict(labels).get("job", "astropix-bridge" if "astropix_bridge" in name else "astropix-relay")
    pairs = dict(labels) | {"job": job, "instance": INSTANCES[job]}
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in sorted(pairs.items())) + "}"


def grows(name):
    return name in (
        "astropix_relay_received_readouts_total", "astropix_relay_published_readouts_total",
        "astropix_relay_published_messages_total", "astropix_relay_published_bytes_total",
        "astropix_relay_source_received_total", "astropix_relay_turn_seconds_bucket",
        "astropix_relay_turn_seconds_count", "astropix_relay_accepted_connections_total",
        "astropix_relay_output_sent_total", "astropix_relay_history_requests_total",
        "astropix_relay_turn_seconds_sum", "astropix_bridge_stored_readouts_total",
    )  # fmt: skip


def series(*faults):
    """Some minutes of series, with faults: name, labels, values of promtool; the first that fits counts."""
    result, taken = [], set()
    for key, value in healthy_series().items():
        name, labels = key[0], dict(key[1])
        healthy = "0+1000" if grows(name) else f"{value:g}"
        values = f"{healthy}x{2 * FAULT_AT}"
        for i, (fault, wanted, changed) in enumerate(faults):
            if re.fullmatch(fault, name.removeprefix("astropix_relay_")) and wanted.items() <= labels.items():
                values = changed.format(healthy=healthy)
                taken.add(i)
                break
        if name in LOOKED_AT:  # the others cost time alone
            result.append({"series": written(key), "values": values})
    assert taken == set(range(len(faults))), "a fault that no series has"
    return result


def counts(name, **labels):
    """A counter that begins to count."""
    return (name, labels, f"0{HALF} 5+5{HALF}")


def becomes(name, value, **labels):
    """A gauge that was healthy."""
    before = {"joined": 1, "up": 1}.get(name, 0)
    before = 1 if labels.get("astropix_relay_state") == "live" else before
    return (name, labels, f"{before}{HALF} {value}{HALF}")


def state(word):
    return [
        becomes("state", 1, astropix_relay_state=word),
        becomes("state", 0, astropix_relay_state="live"),
    ]


def bridge_state(word):
    name, label = "astropix_bridge_state", "astropix_bridge_state"
    return [(name, {label: word}, f"0{HALF} 1{HALF}"), (name, {label: "live"}, f"1{HALF} 0{HALF}")]


LATER = f"0{HALF} 30+30{HALF}"
ENDED = f"{{healthy}}{HALF} stale"
RESTARTED = {
    "series": written(("astropix_relay_build_info", frozenset({"relay_id": "78", "version": "1.2"}.items()))),
    "values": f"_{HALF} 1{HALF}",
}
LOOKED_AT = {"up", *re.findall(r"astropix_(?:relay|bridge)_\w+", RULES.read_text())}
FAULTS = {
    "AstropixRelayDown": [becomes("up", 0, job="astropix-relay"), ("(?!up|astropix_bridge).*", {}, ENDED)],
    "AstropixRelayRestarted": [("build_info", {}, ENDED)],
    "AstropixNotJoined": [becomes("joined", 0), *state("no network")],
    "AstropixUpstreamLost": [becomes("joined", 0), *state("upstream lost")],
    "AstropixStreamSilent": [("last_readout_age_seconds", {}, f"0{HALF} 30+30{HALF}"), *state("quiet")],
    "AstropixLagging": [becomes("lag_seconds", 3), *state("lagging")],
    "AstropixLostBeforeSocket": [
        counts("missing_readouts_total", place="before_socket"),
        counts("source_missing_total", place="before_socket"),
        *state("losing"),
    ],
    "AstropixLostInKernel": [
        counts("missing_readouts_total", place="relay_kernel"),
        counts("source_missing_total", place="relay_kernel"),
        counts("kernel_dropped_datagrams_total"),
        *state("losing"),
    ],
    "AstropixReadoutsDamaged": [
        counts("missing_readouts_total", place="relay_rejected"),
        counts("source_missing_total", place="relay_rejected"),
        counts("rejected_datagrams_total", reason="length"),
        *state("losing"),
    ],
    "AstropixLostBetweenRelays": [counts("missing_readouts_total", place="between_relays"), *state("losing")],
    "AstropixForeignDatagrams": [counts("rejected_datagrams_total", reason="magic")],
    "AstropixDuplicates": [counts("source_duplicates_total")],
    "AstropixSharedSource": [becomes("shared_sources", 1)],
    "AstropixImplausibleSource": [becomes("implausible_sources", 1)],
    "AstropixRejoined": [counts("rejoins_total", cause="forgotten")],
    "AstropixFragmentsLost": [counts("reassembly_failures_total")],
    "AstropixRelayFull": [counts("failed_handshakes_total", cause="full")],
    "AstropixClientsRefused": [counts("failed_handshakes_total", cause="unknown key")],
    "AstropixConnectionsCut": [counts("cut_connections_total")],
    "AstropixOutputNotSent": [counts("output_not_sent_total")],
    # Of a thousand turns in a sample, three are longer than 0.1 s, and end within 0.3 s.
    "AstropixRelaySlow": [
        ("turn_seconds_bucket", {"le": one}, f"0+1000{HALF} {1000 * FAULT_AT}+997{HALF}")
        for one in ("0.1", "0.03", "0.01", "0.003", "0.001", "0.0003", "0.0001")
    ],
    "AstropixLogBlocked": [counts("dropped_log_lines_total")],
    "AstropixOutputStopped": [becomes("output_stopped", 1)],
    "AstropixBridgeDown": [becomes("up", 0, job="astropix-bridge"), ("astropix_bridge.*", {}, ENDED)],
    "AstropixBridgeRestarted": [("astropix_bridge_start_time_seconds", {}, f"5{HALF} _ 7{HALF}")],
    "AstropixNotStored": [*bridge_state("no log"), ("astropix_bridge_waiting_seconds", {}, LATER)],
    "AstropixStoredLate": [("astropix_bridge_waiting_seconds", {}, LATER)],
    "AstropixBridgeHearsNothing": bridge_state("upstream lost"),
    "AstropixMissingInLog": [counts("astropix_bridge_missing_readouts_total", place="relay_to_client")],
    "AstropixMirrorSilent": [("astropix_bridge_mirror_silent_seconds", {}, LATER)],
}
HARMLESS = {
    "a DAQ that rests for four minutes": [
        ("last_readout_age_seconds", {}, f"0{HALF} 30+30x7 0{HALF}"),
        ("state", {"astropix_relay_state": "quiet"}, f"0{HALF} 1x7 0{HALF}"),
        ("state", {"astropix_relay_state": "live"}, f"1{HALF} 0x7 1{HALF}"),
    ],
    "the group is joined again while the DAQ is silent": [counts("rejoins_total", cause="silence")],
    "clients that come and go": [counts("failed_handshakes_total", cause="aborted")],
    "a relay that misses one scrape": [("up", {}, f"1{HALF} 0 1{HALF}")],
    "readouts out of order": [counts("source_reordered_total")],
    "a bridge that waits half a minute for a new leader of the log": [
        ("astropix_bridge_state", {"astropix_bridge_state": "no log"}, f"0{HALF} 1 0{HALF}"),
        ("astropix_bridge_waiting_seconds", {}, f"0{HALF} 30 0{HALF}"),
    ],
    "a log that lacks what was lost before": [
        counts("astropix_bridge_missing_readouts_total", place="before_socket")
    ],
}


def firing(at_minutes, *alerts):
    """What Prometheus is to say of all alerts at a time."""
    return {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": f"{at_minutes}m",
        "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts],
    }


def test_the_rules_are_well_formed(promtool):
    code, said = promtool("check", "rules", RULES)
    assert code == 0, said
    assert f"{len(ALERTS)} rules found" in said


def test_each_fault_fires_exactly_its_alert_and_a_healthy_relay_none(promtool, tmp_path):
    assert sorted(FAULTS) == sorted(ALERTS)
    tests = [
        {
            "name": alert,
            "interval": "30s",
            "input_series": series(*faults) + [RESTARTED] * (alert == "AstropixRelayRestarted"),
            "promql_expr_test": [firing(11), firing(20 if alert.endswith("Restarted") else 23, alert)],
        }
        for alert, faults in FAULTS.items()
    ]
    tests += [
        {
            "name": name,
            "interval": "30s",
            "input_series": series(*faults),
            "promql_expr_test": [firing(minute) for minute in (5, 11, 14, 16, 20, 24)],
        }
        for name, faults in {"healthy": [], **HARMLESS}.items()
    ]
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    code, said = promtool("test", "rules", file)
    assert code == 0, said


def test_a_rule_that_is_wrong_is_seen(promtool, tmp_path):
    """The test above can fail: a threshold that no fault reaches, and one that a healthy relay is beyond."""
    for old, new in (("lag_seconds > 2", "lag_seconds > 200"), ("shared_sources > 0", "shared_sources >= 0")):
        wrong = tmp_path / "wrong.yml"
        assert old in RULES.read_text()
        wrong.write_text(RULES.read_text().replace(old, new))
        one = {
            "interval": "30s",
            "input_series": series(*FAULTS["AstropixLagging"]),
            "promql_expr_test": [firing(23, "AstropixLagging")],
        }
        file = tmp_path / "tests.yml"
        file.write_text(
            yaml.safe_dump({"rule_files": [str(wrong)], "evaluation_interval": "1m", "tests": [one]})
        )
        assert promtool("test", "rules", file)[0] != 0


def test_the_rules_name_metrics_and_labels_that_a_relay_exports():
    found = healthy_series()
    names = {name for name, _ in found}
    text = RULES.read_text()
    expressions = [rule["expr"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    used = {
        name
        for one in expressions
        for name in re.findall(r"\bastropix_(?:relay|bridge)_\w+(?=[\[{ )]|$)", one)
    }
    assert len(used) > 15
    assert used <= names
    pairs = {(label, value) for _, labels in found for label, value in labels}
    wanted = {pair for one in expressions for pair in re.findall(r'(\w+)=(~?)"([^"]*)"', one)}
    for label, pattern, values in wanted:
        for value in values.split("|") if pattern else [values]:
            expected = value if pattern else re.escape(value)
            known = any(label == one and re.fullmatch(expected, given) for one, given in pairs)
            assert known, f"no series has {label}={value!r}"


def test_docs_tell_of_each_metric_that_the_rules_look_at():
    text = (RULES.parents[2] / "docs/operating.md").read_text()
    assert "config/prometheus/astropix-alerts.yml" in text
