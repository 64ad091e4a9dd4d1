//! From lines of results to curves.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// What grows in a picture, and the curves of each measure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) name: String,
    /// Of wall seconds, of memory in MB, and of requests: the points of each tool, from left to right.
    pub(crate) curves: [Curves; 3],
}

/// The points of each tool.
pub(crate) type Curves = BTreeMap<String, Vec<(f64, f64)>>;

/// A run, as `scripts/bench` writes it.
#[derive(Debug, Deserialize)]
struct Run {
    step: String,
    tool: String,
    value: f64,
    wall: f64,
    peak_mb: f64,
    servers: BTreeMap<String, Server>,
}

#[derive(Debug, Deserialize)]
struct Server {
    #[serde(default)]
    requests: f64,
}

/// The medians of all runs of the case `growth` that ended well, in the order in which steps begin.
///
/// # Errors
///
/// With the number of a line that is none of the benchmark's.
pub(crate) fn read(text: &str) -> Result<Vec<Step>, String> {
    let mut steps: Vec<(String, Runs)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let value: Value =
            serde_json::from_str(line).map_err(|error| format!("line {number}: {error}"))?;
        let is_meant = value.get("case").is_some_and(|case| case == "growth")
            && value.get("code").is_some_and(|code| code == 0);
        if !is_meant {
            continue;
        }
        let run: Run =
            serde_json::from_value(value).map_err(|error| format!("line {number}: {error}"))?;
        if !(run.value > 0.0 && run.value.is_finite()) {
            return Err(format!("line {number}: `value` is not above 0"));
        }
        let index = steps.iter().position(|(name, _)| *name == run.step);
        let index = index.unwrap_or_else(|| {
            steps.push((run.step.clone(), Runs::default()));
            steps.len() - 1
        });
        if let Some((_, runs)) = steps.get_mut(index) {
            runs.add(&run);
        }
    }
    let steps = steps.into_iter().map(|(name, runs)| Step {
        name,
        curves: runs.curves(),
    });
    Ok(steps.collect())
}

/// The rounds of each point: tool, value (as bits, which are in order above 0), and a list for each measure.
#[derive(Debug, Default)]
struct Runs(BTreeMap<(String, u64), [Vec<f64>; 3]>);

impl Runs {
    fn add(&mut self, run: &Run) {
        let requests: f64 = run.servers.values().map(|server| server.requests).sum();
        let point = (run.tool.clone(), run.value.to_bits());
        let rounds = self.0.entry(point).or_default();
        for (list, figure) in rounds.iter_mut().zip([run.wall, run.peak_mb, requests]) {
            list.push(figure);
        }
    }

    fn curves(self) -> [Curves; 3] {
        let mut curves: [Curves; 3] = Default::default();
        for ((tool, value), rounds) in self.0 {
            for (curve, mut list) in curves.iter_mut().zip(rounds) {
                let point = (f64::from_bits(value), median(&mut list));
                curve.entry(tool.clone()).or_default().push(point);
            }
        }
        curves
    }
}

/// The one in the middle, or the upper one of two; 0 of none.
fn median(list: &mut [f64]) -> f64 {
    list.sort_by(f64::total_cmp);
    list.get(list.len() / 2).copied().unwrap_or_default()
}
