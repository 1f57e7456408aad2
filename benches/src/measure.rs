//! How the Rust peers measure: as `benches/peers/measure.py` does for the Python ones, with the same command line and the same JSON.
//!
//! A case is called once to warm up (timed too, and kept apart), then again and again until the time given is used up and at least
//! `MIN_SAMPLES` samples are in. Each answer is checked outside of the timed part; a wrong one ends the peer with an error.
//! It knows nothing of park: the peer iceoryx2, a crate of its own, includes this file.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A bench that cannot go on says why and ends.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const MIN_SAMPLES: usize = 3;

/// One thing to time.
pub struct Case<'a> {
    ops: f64,
    sample: Box<dyn FnMut() -> Result<f64> + 'a>,
    yardstick: Option<Box<dyn FnMut() + 'a>>,
}

impl<'a> Case<'a> {
    /// Times `body`, one call of which is `ops` operations (or gigabytes), and asks `check` whether its answer is right.
    pub fn timed<T>(
        ops: f64,
        mut body: impl FnMut() -> Result<T> + 'a,
        mut check: impl FnMut(&T) -> Result<bool> + 'a,
    ) -> Self {
        Self::reported(ops, move || {
            let begin = Instant::now();
            let answer = body()?;
            let seconds = begin.elapsed().as_secs_f64();
            Ok(check(&answer)?.then_some(seconds))
        })
    }

    /// For what another process times: `sample` returns the seconds it told, or nothing if its answer was wrong.
    pub fn reported(ops: f64, mut sample: impl FnMut() -> Result<Option<f64>> + 'a) -> Self {
        Self {
            ops,
            sample: Box::new(move || sample()?.ok_or_else(|| "wrong answer".into())),
            yardstick: None,
        }
    }

    /// Timed in turn with the body: a plain way of moving the same bytes, so that both meet the same load.
    #[must_use]
    pub fn beside(mut self, yardstick: impl FnMut() + 'a) -> Self {
        self.yardstick = Some(Box::new(yardstick));
        self
    }
}

/// A peer's command line, and its results as they come in.
#[derive(Debug)]
pub struct Peer {
    name: &'static str,
    version: String,
    out: PathBuf,
    only: Vec<String>,
    seconds: Duration,
    units: Vec<String>,
}

impl Peer {
    /// Reads the command line that all peers take.
    pub fn from_arguments(name: &'static str, version: &str) -> Result<Self> {
        let mut peer = Self {
            name,
            version: version.to_owned(),
            out: PathBuf::new(),
            only: Vec::new(),
            seconds: Duration::from_millis(500),
            units: Vec::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(option) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
            match option.as_str() {
                "--out" => peer.out = value.into(),
                "--only" => peer.only = value.split('|').map(str::to_owned).collect(),
                "--seconds" => peer.seconds = Duration::try_from_secs_f64(value.parse()?)?,
                "--cores" => {} // of use to peers that start one worker a core
                _ => return Err(format!("unknown option {option}").into()),
            }
        }
        if peer.out.as_os_str().is_empty() {
            return Err("--out is missing: where to write the JSON".into());
        }
        Ok(peer)
    }

    /// Sets a case up, times it and keeps the result, if the row is wanted. `--only` holds parts of names, with `|` between: of the
    /// regular expressions that the Python peers take, those that need no library here.
    pub fn row<'a>(&mut self, name: &str, setup: impl FnOnce() -> Result<Case<'a>>) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let result = setup().and_then(|case| time(case, self.seconds));
        let (value, json) = result.map_err(|error| format!("{name}: {error}"))?;
        eprintln!("    {name:36} {value:14.4}");
        self.units.push(format!("{name:?}: {json}"));
        Ok(())
    }

    /// Keeps a value that is found once a process, a size or a share, if the row is wanted.
    pub fn single(&mut self, name: &str, value: impl FnOnce() -> Result<f64>) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let value = value().map_err(|error| format!("{name}: {error}"))?;
        eprintln!("    {name:36} {value:14.4}");
        self.units.push(format!("{name:?}: {{\"value\": {value:?}}}"));
        Ok(())
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part))
    }

    /// Writes what was measured.
    pub fn write(self) -> Result<()> {
        let (peer, version, units) = (self.name, self.version, self.units.join(",\n"));
        let text =
            format!("{{\"peer\": {peer:?}, \"version\": {version:?}, \"python\": null, \"units\": {{\n{units}}}}}\n");
        Ok(std::fs::write(self.out, text)?)
    }
}

/// The value of a case, and what the results file keeps of it.
fn time(mut case: Case<'_>, limit: Duration) -> Result<(f64, String)> {
    let first = (case.sample)()?;
    if let Some(yardstick) = &mut case.yardstick {
        yardstick();
    }
    let (mut samples, mut beside) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    while samples.len() < MIN_SAMPLES || begin.elapsed() < limit {
        samples.push((case.sample)()?);
        if let Some(yardstick) = &mut case.yardstick {
            let begin = Instant::now();
            yardstick();
            beside.push(begin.elapsed().as_secs_f64());
        }
    }
    let value = case.ops / median(&samples);
    let mut json = format!(
        "{{\"ops\": {:?}, \"first_s\": {first:?}, \"samples_s\": {samples:?}, \"value\": {value:?}",
        case.ops
    );
    if !beside.is_empty() {
        write!(json, ", \"yardstick_value\": {:?}", case.ops / median(&beside))?;
    }
    json.push('}');
    Ok((value, json))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}
