//! Nobody is asked but the registries: neither authority nor log nor the project's own files.
//!
//! The program runs in a network of its own (a namespace of Linux), in which there is loopback alone. The kernel
//! counts there what was tried: packets without a way out, and names that were looked up, for which a datagram is
//! sent. Both counts stay at nothing; and that they count is seen at the end, when both is done on purpose.

use std::process::{Command, Stdio};

use consign::serve::{Access, Registry};
use libtest_mimic::Trial;
use serde_json::Value;

use super::stage::{PATHS, Stage};
use crate::harness::{Tool, Tools, with_tools};
use crate::instance::{Flaw, ISSUER, JOB, Signer};
use crate::registry::{Settings, TestRegistry};

pub(super) fn trials() -> Vec<Trial> {
    let name = "keyless::nobody_is_asked_but_the_registries";
    let trial = with_tools(name, &[Tool::Python], offline);
    vec![if has_networks() {
        trial
    } else {
        let kind = "needs networks of its own";
        trial.with_kind(kind).with_ignored_flag(true)
    }]
}

/// Whether networks can be made here: some places forbid it.
fn has_networks() -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["-rn", "true"]);
    unshare.stderr(Stdio::null());
    unshare.status().is_ok_and(|status| status.success())
}

/// Switches loopback on, serves two registries, runs what stands in a file, and tells how each run ended and what
/// the kernel counted.
const SCRIPT: &str = r#"
import fcntl, json, socket, struct, subprocess, sys

program, source, destination, runs = sys.argv[1:]
control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
# SIOCSIFFLAGS with IFF_UP and IFF_RUNNING, netdevice(7).
fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 0x41))

def counted():
    lines = open("/proc/net/snmp").read().splitlines()
    found = {}
    for names, values in zip(lines[::2], lines[1::2]):
        kind = names.split(":")[0]
        found[kind] = dict(zip(names.split()[1:], values.split()[1:]))
    return [int(found["Ip"]["OutNoRoutes"]), int(found["Udp"]["OutDatagrams"])]

def serve(folder, port):
    command = [program, "serve", "--writable", "--listen", "127.0.0.1:%d" % port, folder]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    server.stdout.readline()
    return server

servers = [serve(source, 5000), serve(destination, 5001)]
ended = []
for line in open(runs):
    run = subprocess.run([program] + line.split(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    ended.append({"code": run.returncode, "stderr": run.stderr})
for server in servers:
    server.terminate()
    server.wait()
quiet = counted()
# A datagram to loopback counts as one, like a question to a resolver there.
control.sendto(b"", ("127.0.0.1", 53))
try:
    control.sendto(b"", ("192.0.2.1", 53))
except OSError:
    pass
json.dump({"ended": ended, "quiet": quiet, "loud": counted()}, sys.stdout)
"#;

async fn offline(tools: Tools) {
    let mut stage = Stage::new().await;
    let folder = stage.place.path("source");
    let open = Registry::open(folder.clone(), Access::Writable).await;
    let open = TestRegistry::over(open.expect("it opens"), Settings::default()).await;
    let before = std::mem::replace(&mut stage.registry, open);
    before.stop().await;
    let mut runs = Vec::new();
    for signer in [Signer::Certificate, Signer::Key] {
        for path in PATHS {
            for (flaw, code) in [(None, 0), (Some(Flaw::NoEntry), 3)] {
                let name = format!("apps/{signer:?}-{:?}-{:?}-{code}", path.0, path.1);
                let name = name.to_lowercase();
                stage.signed_image(&name, path, signer, flaw).await;
                stage
                    .place
                    .write(&name, format!("127.0.0.1:5000/{name}:1\n"));
                // Who made it was told another address.
                let known = stage.known(signer, path.1);
                let known = known.replace("matchRepository", "digestOnly");
                runs.push((code, format!("validate -f {name} -o failed.txt {known}")));
            }
        }
    }
    let good = "apps/certificate-tag-simple-0";
    stage.place.write("list.txt", format!("{good}:1\n"));
    let who = format!("--certificate-identity {JOB} --certificate-oidc-issuer {ISSUER}");
    let root = format!("--trusted-root {}", stage.files.trusted_root.display());
    let flags = "--signed-identity digestOnly -o failed.txt";
    // By the root that is built in, which is not fetched.
    runs.push((3, format!("validate -f {good} {flags} {who}")));
    for (code, who) in [(3, who.replace("main", "other")), (0, who)] {
        let who = who.replace("--certificate", "--verify-certificate");
        let registries = "-s 127.0.0.1:5000 -d 127.0.0.1:5001";
        runs.push((
            code,
            format!("mirror -f list.txt {registries} {flags} {root} {who}"),
        ));
    }
    let Stage {
        registry, place, ..
    } = stage;
    registry.stop().await;
    let lines: Vec<&str> = runs.iter().map(|(_, run)| run.as_str()).collect();
    place.write("runs.txt", lines.join("\n") + "\n");
    place.write("alone.py", SCRIPT);
    let mut command = tokio::process::Command::new("unshare");
    command.arg("-rn").arg(tools.path(Tool::Python));
    command.arg("alone.py").arg(env!("CARGO_BIN_EXE_consign"));
    command.arg(folder).args(["destination", "runs.txt"]);
    command.env_clear().env("HOME", place.path(""));
    command.current_dir(place.path("")).stdin(Stdio::null());
    let output = command.output().await.expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let told: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let ended = told["ended"].as_array().expect("a list");
    assert_eq!(ended.len(), runs.len());
    for ((code, run), ended) in runs.iter().zip(ended) {
        assert_eq!(ended["code"], *code, "{run}: {ended}");
    }
    assert_eq!(
        told["quiet"],
        serde_json::json!([0, 0]),
        "something was tried"
    );
    assert_eq!(
        told["loud"],
        serde_json::json!([1, 1]),
        "nothing is counted"
    );
}
