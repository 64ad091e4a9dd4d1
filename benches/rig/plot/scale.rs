//! Axes: where a figure stands, and which ones are named.

/// From so much difference on, a linear axis hides what is small.
const WIDE: f64 = 20.0;
/// How many names an axis has at most.
const NAMES_MAX: f64 = 8.0;

/// An axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    /// From 0 to a largest figure.
    Linear(f64),
    /// Between two figures above 0.
    Log(f64, f64),
}

impl Scale {
    /// The one that shows all these figures.
    pub(crate) fn fitting(figures: impl Iterator<Item = f64> + Clone) -> Self {
        let high = figures.clone().fold(0.0, f64::max);
        let low = figures.fold(high, f64::min);
        if low > 0.0 && high / low >= WIDE {
            Self::Log(low / 1.3, high * 1.3)
        } else if high > 0.0 {
            Self::Linear(high * 1.1)
        } else {
            Self::Linear(1.0)
        }
    }

    /// The logarithmic one that shows all these figures, all of them above 0.
    pub(crate) fn log(figures: impl Iterator<Item = f64> + Clone) -> Self {
        let high = figures.clone().fold(f64::MIN_POSITIVE, f64::max);
        let low = figures.fold(high, f64::min);
        Self::Log(low / 1.2, high * 1.2)
    }

    /// Where a figure stands.
    pub(crate) fn place(self, figure: f64) -> f64 {
        match self {
            Self::Linear(_) => figure,
            Self::Log(low, _) => figure.max(low).ln(),
        }
    }

    /// The figure that stands there.
    pub(crate) fn figure(self, place: f64) -> f64 {
        match self {
            Self::Linear(_) => place,
            Self::Log(..) => place.exp(),
        }
    }

    /// The ends of the axis.
    pub(crate) fn ends(self) -> (f64, f64) {
        match self {
            Self::Linear(high) => (0.0, high),
            Self::Log(low, high) => (low.ln(), high.ln()),
        }
    }

    /// The figures that are named: 1, 2 and 5 of each power of ten, or multiples of one of these.
    pub(crate) fn names(self) -> Vec<f64> {
        match self {
            Self::Linear(high) => {
                let step = rounds(high / NAMES_MAX, high)
                    .find(|step| high / step <= NAMES_MAX)
                    .unwrap_or(high);
                std::iter::successors(Some(0.0), |name| Some(name + step))
                    .take_while(|name| *name <= high)
                    .collect()
            }
            Self::Log(low, high) => rounds(low, high).collect(),
        }
    }
}

/// The round figures between two, in their order.
fn rounds(low: f64, high: f64) -> impl Iterator<Item = f64> {
    let first = 10_f64.powf(low.log10().floor());
    std::iter::successors(Some(first), |power| Some(power * 10.0))
        .take_while(move |power| *power <= high)
        .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * power))
        .filter(move |round| (low..=high).contains(round))
}

/// A figure in few letters: 0.05, 2, 1k, 500M.
pub(crate) fn short(figure: f64) -> String {
    let (figure, unit) = [(1e9, "G"), (1e6, "M"), (1e3, "k")]
        .into_iter()
        .find(|(power, _)| figure >= *power)
        .map_or((figure, ""), |(power, unit)| (figure / power, unit));
    let text = format!("{figure:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

/// A number of bytes in few letters, by powers of 1024: 64 KiB, 4 GiB.
pub(crate) fn short_bytes(bytes: f64) -> String {
    let (bytes, unit) = [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        .into_iter()
        .map(|(power, unit)| (2_f64.powi(power), unit))
        .find(|(power, _)| bytes >= *power)
        .map_or((bytes, "B"), |(power, unit)| (bytes / power, unit));
    format!("{} {unit}", short(bytes))
}
