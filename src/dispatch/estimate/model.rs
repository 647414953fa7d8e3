//! A cost model that learns from what jobs took: pure arithmetic, no clock, no I/O.
//!
//! Cost is taken to be log-normal, since it is positive and its errors are factors. Every name of a job (see [`super::features`]) is a
//! node that keeps a recency-weighted linear regression of ln(cost) on ln(work): its slope is 1 where cost is proportional to work,
//! and less where a fixed part matters. A prediction starts from the most general node and lets every more special one correct it by
//! as much as that one has seen (an empirical-Bayes shrinkage: a node of weight n counts n against `PRIOR_WEIGHT`).

use super::features::Features;
use crate::job::Priority;
use crate::limits::COST_NODES_MAX;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What one observation leaves of the weight of those before it: about the last fourteen count.
const MEMORY: f64 = 0.93;
/// Weight of the more general prediction against that of a node.
const PRIOR_WEIGHT: f64 = 0.4;
/// Strength of the belief that cost is proportional to work, as a variance of ln(work).
const SLOPE_VARIANCE: f64 = 2.0;
/// Standard deviation of ln(cost) where nothing is known.
const UNKNOWN_SIGMA: f64 = 1.5;
/// The same for jobs of a node, before its own errors are known: by its distance from the most special one.
const NODE_SIGMA: [f64; 4] = [0.2, 0.4, 0.8, 1.0];
/// Error of the slope, for work that is far from what was seen.
const SLOPE_SIGMA: f64 = 0.12;
/// z of the 90th percentile of a normal distribution.
pub const Z90: f64 = 1.281_551_6;

/// A log-normal distribution of seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// ln of the median.
    pub mu: f64,
    /// Standard deviation of the logarithm.
    pub sigma: f64,
}

impl Spread {
    /// The median.
    pub fn p50(self) -> f64 {
        self.mu.exp()
    }

    /// Nine of ten are below it.
    pub fn p90(self) -> f64 {
        (self.mu + Z90 * self.sigma).exp()
    }

    /// Mean and variance.
    pub fn moments(self) -> (f64, f64) {
        let s2 = self.sigma * self.sigma;
        let mean = (self.mu + s2 / 2.0).exp();
        (mean, (s2.exp() - 1.0) * mean * mean)
    }

    /// The log-normal distribution with this median and variance: sums of many costs are close to one (Fenton 1960, "The Sum of
    /// Log-Normal Probability Distributions in Scatter Transmission Systems").
    pub fn of_median(median: f64, variance: f64) -> Self {
        let median = median.max(1e-6);
        // From variance = (e^{s²} − 1) e^{s²} median².
        let q = variance.max(0.0) / (median * median);
        let s2 = ((1.0 + (1.0 + 4.0 * q).sqrt()) / 2.0).ln();
        Self { mu: median.ln(), sigma: s2.sqrt() }
    }
}

/// See the module's text. Written to the store as JSON.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Model {
    nodes: HashMap<String, Node>,
    /// Counts observations, for the age of nodes.
    observations: u64,
    /// Seconds beside those on the GPU that a job took while others kept it busy, over all jobs.
    busy: Recent,
    /// ln of what jobs took on the GPU over what they were thought to take when they were submitted: what is in the queue was
    /// estimated by an older model.
    cost_ratio: Recent,
    drift: Drift,
    /// Learns how far whole estimates are off: by class, and apart for jobs that find the GPU idle and those that wait.
    calibrations: [[Calibration; 2]; 3],
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Node {
    /// Effective observations.
    n: f64,
    /// Weighted means of ln(work) and ln(cost).
    x: f64,
    y: f64,
    /// Weighted sums of squares and products around them.
    sxx: f64,
    sxy: f64,
    /// Weighted mean of squared errors of predictions, made before the observation was known.
    error2: f64,
    /// Weight of `error2`.
    errors: f64,
    /// Seconds that a job takes beside those on the GPU, while others keep the GPU busy, and while none does.
    busy: Recent,
    idle: Recent,
    /// `observations` when it was used last.
    used: u64,
}

/// The last few values of something, of which the median counts: a scene that is loaded once does not make every job look slow.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Recent(Vec<f32>);

/// Values that are remembered.
const RECENT_MAX: usize = 7;

impl Recent {
    fn observe(&mut self, value: f64) {
        if self.0.len() == RECENT_MAX {
            self.0.remove(0);
        }
        self.0.push(value as f32);
    }

    /// How many values there are, against a prior of weight [`PRIOR_WEIGHT`].
    fn weight(&self) -> f64 {
        let n = self.0.len() as f64;
        n / (n + PRIOR_WEIGHT)
    }

    /// 0 where there are none.
    fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f32::total_cmp);
        sorted.get(sorted.len() / 2).map_or(0.0, |value| f64::from(*value))
    }

    /// Mean square of the distances from the median.
    fn variance(&self) -> f64 {
        let median = self.median();
        let squares: f64 = self.0.iter().map(|value| (f64::from(*value) - median).powi(2)).sum();
        squares / self.0.len().max(1) as f64
    }
}

/// How the machine is faster or slower than usual at the moment, since it does something else too or has got warm: an average of the
/// last few errors, which counts as much as consecutive errors have been alike.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Drift {
    /// ln(actual / predicted) of the last few jobs.
    level: f64,
    last: f64,
    /// Mean product of consecutive errors, and mean square of them.
    covariance: f64,
    variance: f64,
}

impl Drift {
    fn observe(&mut self, error: f64) {
        let error = error.clamp(-1.0, 1.0);
        self.level += 0.3 * (error - self.level);
        self.covariance += 0.05 * (error * self.last - self.covariance);
        self.variance += 0.05 * (error * error - self.variance);
        self.last = error;
    }

    /// What to add to ln of a prediction.
    fn correction(&self) -> f64 {
        // The floor keeps small errors of a steady machine from being taken for a trend.
        let alike = (self.covariance / (self.variance + 0.01)).clamp(0.0, 1.0);
        alike * self.level
    }
}

impl Node {
    fn slope(&self) -> f64 {
        ((self.sxy + SLOPE_VARIANCE) / (self.sxx + SLOPE_VARIANCE)).clamp(0.0, 1.2)
    }

    fn predict(&self, x: f64) -> f64 {
        self.y + self.slope() * (x - self.x)
    }

    fn observe(&mut self, x: f64, y: f64, error: f64) {
        self.sxx *= MEMORY;
        self.sxy *= MEMORY;
        self.n = self.n * MEMORY + 1.0;
        let dx = x - self.x;
        self.x += dx / self.n;
        let dy = y - self.y;
        self.y += dy / self.n;
        self.sxx += dx * (x - self.x);
        self.sxy += dx * (y - self.y);
        self.errors = self.errors * MEMORY + 1.0;
        self.error2 += (error * error - self.error2) / self.errors;
    }
}

/// What a job is expected to take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Seconds on the GPU.
    pub gpu: Spread,
    /// Further seconds, with their variance, while others keep the GPU busy: what does not overlap with them.
    pub busy: (f64, f64),
    /// The same while the GPU is idle: loading and encoding.
    pub idle: (f64, f64),
}

/// What a job took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// Seconds on the GPU, above 0.
    pub gpu_seconds: f64,
    /// Seconds beside them, and whether others kept the GPU busy. `None`: cannot be told.
    pub overhead: Option<(f64, bool)>,
}

impl Model {
    /// See [`Prediction`].
    pub fn predict(&self, features: &Features) -> Prediction {
        let x = features.work.ln();
        let mut mu = x + features.prior_seconds.ln();
        let mut variance = UNKNOWN_SIGMA * UNKNOWN_SIGMA;
        let (mut busy, mut idle) = ((0.02, 0.01), (0.15, 0.04));
        // From the most general name to the most special one.
        for (level, key) in features.keys.iter().enumerate().rev() {
            let Some(node) = self.nodes.get(key).filter(|node| node.n > 0.0) else { continue };
            let weight = node.n / (node.n + PRIOR_WEIGHT);
            let own = node.predict(x);
            let prior = NODE_SIGMA[level.min(NODE_SIGMA.len() - 1)].powi(2);
            // Errors that were seen, with one imagined observation of the usual one.
            let seen = (node.error2 * node.errors + prior) / (node.errors + 1.0);
            let far = SLOPE_SIGMA * (x - node.x);
            mu += weight * (own - mu);
            variance += weight * (seen + far * far - variance);
            for (mean, learnt) in [(&mut busy, &node.busy), (&mut idle, &node.idle)] {
                mean.0 += learnt.weight() * (learnt.median() - mean.0);
                mean.1 += learnt.weight() * (learnt.variance() - mean.1);
            }
        }
        Prediction { gpu: Spread { mu: mu + self.drift.correction(), sigma: variance.max(0.0025).sqrt() }, busy, idle }
    }

    /// The calibration of estimates of a class, for jobs that wait or that find the GPU idle.
    pub fn calibration(&self, priority: Priority, waits: bool) -> &Calibration {
        &self.calibrations[priority as usize][usize::from(waits)]
    }

    /// See [`Calibration::observe`].
    pub fn calibrate(&mut self, priority: Priority, waits: bool, given: Spread, actual_seconds: f64) {
        self.calibrations[priority as usize][usize::from(waits)].observe(given, actual_seconds);
    }

    /// Seconds that each job before another one adds to its wait beside those on the GPU, with their variance.
    pub fn overhead_each(&self) -> (f64, f64) {
        let weight = self.busy.weight();
        ((weight * self.busy.median() + (1.0 - weight) * 0.02).max(0.0), self.busy.variance())
    }

    /// Factor on estimates that were made when a job was submitted.
    pub fn cost_factor(&self) -> f64 {
        (self.cost_ratio.median() * self.cost_ratio.weight()).clamp(-3.0, 3.0).exp()
    }

    /// Learns from what a job was thought to cost when it was submitted, and what it did cost.
    pub fn observe_cost(&mut self, thought_seconds: f64, gpu_seconds: f64) {
        if thought_seconds > 0.0 && gpu_seconds > 0.0 {
            self.cost_ratio.observe((gpu_seconds / thought_seconds).ln());
        }
    }

    /// Learns from a job that has ended well.
    pub fn observe(&mut self, features: &Features, seen: Observation) {
        if !(seen.gpu_seconds.is_finite() && seen.gpu_seconds > 0.0) {
            return;
        }
        self.observations += 1;
        if let Some((seconds, true)) = seen.overhead {
            self.busy.observe(seconds);
        }
        let (x, y) = (features.work.ln(), seen.gpu_seconds.ln());
        if self.nodes.contains_key(&features.keys[0]) {
            // Of what was never seen, an error says more about the job than about the machine.
            self.drift.observe(y - self.predict(features).gpu.mu + self.drift.correction());
        }
        // The error of each node's own prediction, which a first observation has not.
        for (level, key) in features.keys.iter().enumerate() {
            let node = self.nodes.entry(key.clone()).or_default();
            let error = if node.n > 0.0 { y - node.predict(x) } else { NODE_SIGMA[level.min(NODE_SIGMA.len() - 1)] };
            node.observe(x, y, error);
            node.used = self.observations;
            match seen.overhead {
                Some((seconds, true)) => node.busy.observe(seconds),
                Some((seconds, false)) => node.idle.observe(seconds),
                None => {}
            }
        }
        if self.nodes.len() > COST_NODES_MAX {
            self.forget();
        }
    }

    /// Drops the quarter of the nodes that was not used for longest.
    fn forget(&mut self) {
        let mut used: Vec<u64> = self.nodes.values().map(|node| node.used).collect();
        let (_, limit, _) = used.select_nth_unstable(COST_NODES_MAX / 4);
        let limit = *limit;
        self.nodes.retain(|_, node| node.used > limit);
    }
}

/// How whole estimates (queue and all) turn out, in units of their own spread: a running estimate of the median and of the 90th
/// percentile by stochastic approximation (Robbins and Monro 1951; for coverage, Gibbs and Candès 2021, "Adaptive Conformal Inference
/// Under Distribution Shift"). It makes nine of ten jobs end before their p90 even where the model's shape is wrong.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Calibration {
    /// Added to ln of every median.
    bias: f64,
    /// Factor on every sigma.
    stretch: f64,
    /// Estimates that were judged.
    judged: u32,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { bias: 0.0, stretch: 1.0, judged: 0 }
    }
}

/// How far one job moves the calibration, once it has seen a few.
const STEP: f64 = 0.04;
/// The same for the first jobs of all.
const FIRST_STEP: f64 = 0.25;

impl Calibration {
    /// Corrects an estimate.
    pub fn apply(&self, spread: Spread) -> Spread {
        Spread { mu: spread.mu + self.bias, sigma: (spread.sigma * self.stretch).max(0.02) }
    }

    /// Learns from an estimate, as it was given (corrected), and what came of it.
    pub fn observe(&mut self, given: Spread, actual_seconds: f64) {
        let late = actual_seconds.max(1e-3).ln() - given.mu;
        let step = (2.0 * FIRST_STEP / (f64::from(self.judged) + 2.0)).max(STEP);
        self.judged = self.judged.saturating_add(1);
        // Small errors move it by little, so that it does not jitter around the right place.
        self.bias = (self.bias + 0.5 * step * (late / given.sigma.max(0.05)).clamp(-1.0, 1.0)).clamp(-2.0, 2.0);
        let above = late > Z90 * given.sigma;
        // In balance where one of ten is above.
        self.stretch *= (step * if above { 0.9 } else { -0.1 }).exp();
        self.stretch = self.stretch.clamp(0.5, 8.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(name: &str, work: f64) -> Features {
        Features { work, keys: vec![format!("scene/{name}"), "scene".into()], prior_seconds: 1e-6 }
    }

    fn seen(gpu_seconds: f64) -> Observation {
        Observation { gpu_seconds, overhead: None }
    }

    /// Uniform in (−1, 1), the same in every run.
    fn noise(index: u32) -> f64 {
        f64::from(index.wrapping_mul(2_654_435_761) >> 8) / f64::from(1u32 << 23) - 1.0
    }

    #[test]
    fn a_job_that_was_seen_is_predicted_and_its_size_scales_it() {
        let mut model = Model::default();
        for work in [1e6, 2e6, 4e6, 1e6] {
            model.observe(&features("a", work), seen(work * 3e-6));
        }
        for (work, seconds) in [(1e6, 3.0), (8e6, 24.0)] {
            let predicted = model.predict(&features("a", work)).gpu;
            assert!((predicted.p50() / seconds).ln().abs() < 0.1, "{} for {seconds}", predicted.p50());
            assert!(predicted.p90() < 2.0 * seconds && predicted.p90() > seconds);
        }
    }

    #[test]
    fn a_fixed_cost_is_seen_in_small_jobs() {
        let mut model = Model::default();
        for index in 0..30 {
            let work = 10f64.powf(3.0 + 3.0 * (noise(index) + 1.0) / 2.0);
            model.observe(&features("a", work), seen(0.2 + work * 1e-7));
        }
        let small = model.predict(&features("a", 1e3)).gpu.p50();
        assert!((0.12..0.3).contains(&small), "{small}");
    }

    #[test]
    fn an_unknown_scene_is_guessed_from_the_others_with_a_wide_spread() {
        let mut model = Model::default();
        let nothing = model.predict(&features("new", 1e6)).gpu;
        for index in 0..20 {
            model.observe(&features(&format!("s{index}"), 1e6), seen(4.0 * (0.5 * noise(index)).exp()));
        }
        let guessed = model.predict(&features("new", 1e6)).gpu;
        let known = model.predict(&features("s3", 1e6)).gpu;
        assert!((guessed.p50() / 4.0).ln().abs() < 0.4, "{}", guessed.p50());
        assert!(
            known.sigma < guessed.sigma && guessed.sigma < nothing.sigma,
            "{} {} {}",
            known.sigma,
            guessed.sigma,
            nothing.sigma
        );
    }

    #[test]
    fn a_faster_machine_is_noticed_within_a_few_jobs() {
        let mut model = Model::default();
        (0..50).for_each(|_| model.observe(&features("a", 1e6), seen(10.0)));
        (0..12).for_each(|_| model.observe(&features("a", 1e6), seen(1.0)));
        let predicted = model.predict(&features("a", 1e6)).gpu.p50();
        assert!(predicted < 3.5, "{predicted}");
    }

    #[test]
    fn a_machine_that_is_slow_at_the_moment_is_noticed_at_once_and_noise_is_no_trend() {
        let mut steady = Model::default();
        (0..200).for_each(|index| steady.observe(&features("a", 1e6), seen(10.0 * (0.3 * noise(index)).exp())));
        assert!(steady.drift.correction().abs() < 0.08, "{:?}", steady.drift);
        let mut swinging = Model::default();
        for index in 0..200 {
            // Twice as slow for twenty jobs, then as fast as before.
            let factor = if index / 20 % 2 == 0 { 1.0 } else { 2.0 };
            swinging.observe(&features("a", 1e6), seen(10.0 * factor));
        }
        (0..4).for_each(|_| swinging.observe(&features("a", 1e6), seen(10.0)));
        let predicted = swinging.predict(&features("a", 1e6)).gpu.p50();
        assert!(predicted < 14.0, "{predicted} after four jobs of 10 s");
    }

    #[test]
    fn loading_a_scene_once_does_not_make_every_job_look_slow() {
        let mut model = Model::default();
        for index in 0..40 {
            let overhead = if index % 8 == 0 { 2.0 } else { 0.02 };
            model.observe(&features("a", 1e6), Observation { gpu_seconds: 1.0, overhead: Some((overhead, false)) });
        }
        let (idle, _) = model.predict(&features("a", 1e6)).idle;
        assert!(idle < 0.1, "{idle}");
    }

    #[test]
    fn nine_of_ten_end_before_the_calibrated_p90_even_where_the_model_is_wrong() {
        let mut calibration = Calibration::default();
        let raw = Spread { mu: 10f64.ln(), sigma: 0.1 };
        let (mut within, mut off) = (0, Vec::new());
        for index in 0..2000 {
            // Twice as long as thought, and four times as spread.
            let actual = 20.0 * (0.7 * noise(index)).exp();
            let given = calibration.apply(raw);
            if index >= 1000 {
                within += u32::from(actual <= given.p90());
                off.push((actual / given.p50()).ln());
            }
            calibration.observe(given, actual);
        }
        off.sort_by(f64::total_cmp);
        assert!((850..=950).contains(&within), "{within} of 1000");
        assert!(off[500].abs() < 0.15, "the median is off by {}", off[500]);
    }

    #[test]
    fn sums_keep_their_median_and_variance() {
        let spread = Spread::of_median(5.0, 4.0);
        let (_, variance) = spread.moments();
        assert!((spread.p50() - 5.0).abs() < 1e-9 && (variance - 4.0).abs() < 1e-6, "{variance}");
    }

    #[test]
    fn what_was_learnt_survives_being_written_and_is_bounded() {
        let mut model = Model::default();
        for index in 0..3 * COST_NODES_MAX {
            model.observe(&features(&format!("s{index}"), 1e6), seen(2.0));
        }
        assert!(model.nodes.len() <= COST_NODES_MAX + 1, "{}", model.nodes.len());
        let text = serde_json::to_string(&model).unwrap();
        let back: Model = serde_json::from_str(&text).unwrap();
        assert_eq!(back.predict(&features("x", 1e5)), model.predict(&features("x", 1e5)));
    }
}
