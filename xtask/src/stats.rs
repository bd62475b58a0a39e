//! Medians and how sure they are, for tables of measurements.

/// Measurements of one thing, sorted.
#[derive(Debug, Clone)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    /// Returns the sample, or `None` when nothing was measured.
    pub(crate) fn new(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then_some(Self(values))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Returns the value below which the given part of the sample lies, interpolated.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let position = part * (self.0.len() - 1) as f64;
        let (low, high) = (position.floor() as usize, position.ceil() as usize);
        self.0[low] + (self.0[high] - self.0[low]) * position.fract()
    }

    /// Returns the 95 % interval of the median, by order statistics: it assumes
    /// nothing about how the values are distributed.
    pub(crate) fn median_interval(&self) -> (f64, f64) {
        let count = self.0.len() as f64;
        let half = 0.98 * count.sqrt();
        let low = (count / 2.0 - half).floor().max(0.0) as usize;
        let high = (count / 2.0 + half).ceil().min(count - 1.0) as usize;
        (self.0[low], self.0[high])
    }
}

/// One line of a table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) sample: Sample,
}

/// Returns a Markdown table with the unit in its head.
pub(crate) fn table(unit: &str, rows: &[Row]) -> String {
    let mut text = format!(
        "| what | median {unit} | 95 % of the median | quartiles | min | max | rounds |\n\
         |---|---|---|---|---|---|---|\n"
    );
    for Row { name, sample } in rows {
        let (low, high) = sample.median_interval();
        text += &format!(
            "| {name} | {} | {} – {} | {} – {} | {} | {} | {} |\n",
            number(sample.median()),
            number(low),
            number(high),
            number(sample.quantile(0.25)),
            number(sample.quantile(0.75)),
            number(sample.quantile(0.0)),
            number(sample.quantile(1.0)),
            sample.count(),
        );
    }
    text
}

/// Returns a `ratio WHAT ours/PEER NUMBER` line; the interval's ends follow it.
pub(crate) fn ratio(what: &str, peer: &str, ours: &Sample, theirs: &Sample) -> String {
    let (ours_interval, theirs_interval) = (ours.median_interval(), theirs.median_interval());
    format!(
        "ratio {what} ours/{peer} {:.3}\n      {what} ours/{peer} between {:.3} and {:.3}\n",
        ours.median() / theirs.median(),
        ours_interval.0 / theirs_interval.1,
        ours_interval.1 / theirs_interval.0,
    )
}

fn number(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(count: usize) -> Sample {
        Sample::new((1..=count).rev().map(|value| value as f64).collect()).unwrap()
    }

    #[test]
    fn quantiles_are_interpolated() {
        let sample = sample(4);
        assert_eq!(
            (sample.quantile(0.0), sample.median(), sample.quantile(1.0)),
            (1.0, 2.5, 4.0)
        );
    }

    #[test]
    fn the_interval_narrows_with_more_rounds() {
        assert_eq!(sample(1).median_interval(), (1.0, 1.0));
        assert_eq!(sample(30).median_interval(), (10.0, 22.0));
        let (low, high) = sample(1000).median_interval();
        assert!(low > 460.0 && high < 540.0, "{low} {high}");
    }

    #[test]
    fn a_ratio_line_has_the_agreed_form() {
        let text = ratio("start", "docker", &sample(3), &sample(3));
        assert!(
            text.starts_with("ratio start ours/docker 1.000\n"),
            "{text}"
        );
    }

    #[test]
    fn nothing_measured_is_no_sample() {
        assert!(Sample::new(Vec::new()).is_none());
    }
}
