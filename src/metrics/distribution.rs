//! Distributions, in the three forms in which bridges send them.

use std::borrow::Cow;

use crate::metrics::report::{Number, Value};

/// The largest number of buckets of a distribution. Bridges send up to 22.
pub const MAX_BUCKETS: usize = 1024;

/// Initial capacity for buckets, enough for current bridges.
const ROOM: usize = 24;

/// The beginning of the key of a bucket in the bridge's own metrics; the upper bound follows.
const BUCKET: &str = "bucket_le_";

/// The number of observations in each bucket, their number in total, and their sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// The upper bounds in ascending order, the last one infinite, each with the number of observations in its bucket alone.
    buckets: Vec<(f64, u64)>,
    /// The number of all observations.
    count: u64,
    /// The sum of all observations, neither negative nor NaN nor infinite.
    sum: Number,
}

impl Distribution {
    /// Reads any of the three forms. `None` if the value has another form or contradicts itself.
    #[must_use]
    pub fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Object(_) => Self::from_buckets(value).or_else(|| Self::from_ranges(value)),
            _ => Self::from_sizes(value.elements(MAX_BUCKETS)?),
        }
    }

    /// An array whose element *i* is the number of things of size *i*; the last element is for that size or more. This is the
    /// form of the conference sizes in `/colibri/stats`. The sum is a lower bound, because the last element counts with its
    /// smallest size.
    fn from_sizes<'a>(elements: impl ExactSizeIterator<Item = Value<'a>>) -> Option<Self> {
        // A bridge sends an empty array before its first report. So the distribution is absent, not zero.
        let last = elements.len().checked_sub(1)?;
        let mut sum = 0u64;
        let bucket = |(size, element): (u32, Value)| {
            let count = element.number()?.as_count()?;
            sum = sum.checked_add(count.checked_mul(size.into())?)?;
            Some((f64::from(size), count))
        };
        let mut buckets: Vec<_> = (0..).zip(elements).map(bucket).collect::<Option<_>>()?;
        buckets[last].0 = f64::INFINITY;
        Self::new(buckets, Number::Unsigned(sum))
    }

    /// Whether an object has the form of the bridge's own metrics, contradictory or not.
    #[must_use]
    pub fn has_buckets(value: &Value) -> bool {
        let mut found = false;
        value.members(|key, _| found |= key.starts_with(BUCKET)).is_some() && found
    }

    /// `{"bucket_le_5.0": 3.0, ..., "bucket_le_+Inf": 3.0, "count": 3.0, "sum": 10.0}`, with cumulative buckets: the form of the bridge's
    /// own metrics. The member `created` is ignored.
    fn from_buckets(value: &Value) -> Option<Self> {
        let (mut count, mut sum) = (None, None);
        let mut buckets = buckets(
            value,
            |key| key.strip_prefix(BUCKET),
            |key, value| match key {
                "count" => count = value.number(),
                "sum" => sum = value.number(),
                _ => {}
            },
        )?;
        let mut below = 0;
        for (_, count) in &mut buckets {
            let cumulative = *count;
            *count = cumulative.checked_sub(below)?;
            below = cumulative;
        }
        Self::new(buckets, sum?).filter(|_| count.and_then(Number::as_count) == Some(below))
    }

    /// `{"average", "max", "total_value", "total_count", "buckets": {"<= 7": n, ..., "> 119": n, "p99<=": b}}`, with buckets that
    /// are not cumulative: the form of the one nested object in `/colibri/stats`, since 2021. Percentiles, average and maximum
    /// are derived values and ignored. The count is the sum of the buckets, because OpenMetrics requires that both are equal, and
    /// the bridge updates its own `total_count` at another time.
    fn from_ranges(value: &Value) -> Option<Self> {
        let (mut ranges, mut sum) = (None, None);
        value.members(|key, value| match &*key {
            "buckets" => ranges = Some(value),
            "total_value" => sum = value.number(),
            _ => {}
        })?;
        let mut above = None;
        let mut buckets = buckets(
            &ranges?,
            |key| key.strip_prefix("<= "),
            |key, value| {
                if key.starts_with("> ") {
                    above = Some(value);
                }
            },
        )?;
        buckets.push((f64::INFINITY, above?.number()?.as_count()?));
        Self::new(buckets, sum?)
    }

    /// The same in another unit. `None` if the result is beyond the range of a float, or two bounds become one.
    #[must_use]
    pub fn convert(self, convert: impl Fn(Number) -> Option<Number>) -> Option<Self> {
        let bucket = |(bound, count)| Some((convert(Number::Float(bound))?.as_f64(), count));
        let buckets = self.buckets.into_iter().map(bucket).collect::<Option<_>>()?;
        Self::new(buckets, convert(self.sum)?)
    }

    /// Checks what both formats require of a distribution.
    fn new(buckets: Vec<(f64, u64)>, sum: Number) -> Option<Self> {
        let ascending = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let complete = buckets.last().is_some_and(|(bound, _)| *bound == f64::INFINITY);
        let count = buckets.iter().try_fold(0u64, |sum, (_, count)| sum.checked_add(*count))?;
        let valid =
            ascending && complete && buckets.len() <= MAX_BUCKETS && (0.0..f64::INFINITY).contains(&sum.as_f64());
        valid.then_some(Self { buckets, count, sum })
    }

    /// The upper bounds in ascending order, the last one infinite, each with the number of observations in its bucket alone.
    #[must_use]
    pub fn buckets(&self) -> &[(f64, u64)] {
        &self.buckets
    }

    /// The number of all observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all observations.
    #[must_use]
    pub fn sum(&self) -> Number {
        self.sum
    }

    /// The number of things of each size from 0 on; the last element is for that size or more. `None` if a bucket covers several
    /// sizes.
    #[must_use]
    pub fn by_size(&self) -> Option<impl Iterator<Item = (usize, u64)>> {
        let is_size =
            |((bound, _), size): (&(f64, u64), u32)| bound.total_cmp(&f64::from(size)).is_eq() || bound.is_infinite();
        let single = self.buckets.iter().zip(0..).all(is_size);
        single.then(|| self.buckets.iter().map(|(_, count)| *count).enumerate())
    }
}

/// The members of an object that are buckets, in ascending order of their bounds. `bound` returns the upper bound of a bucket,
/// NaN if it cannot be read, and `None` for other members, for which `other` is called. `None` if the value is not an object, or
/// if the value of a bucket is not a count.
fn buckets<'a>(
    object: &Value<'a>,
    bound: impl Fn(&str) -> Option<&str>,
    mut other: impl FnMut(&str, Value<'a>),
) -> Option<Vec<(f64, u64)>> {
    let mut buckets: Vec<(Cow<str>, f64, Value)> = Vec::with_capacity(ROOM);
    object.members(|key, value| match bound(&key) {
        // One bucket above the limit is kept, to show that there are too many.
        Some(bound) if buckets.len() <= MAX_BUCKETS => {
            let bound =
                if bound == "+Inf" { f64::INFINITY } else { Number::parse(bound).map_or(f64::NAN, Number::as_f64) };
            buckets.push((key, bound, value));
        }
        Some(_) => {}
        None => other(&key, value),
    })?;
    buckets.sort_by(|(_, one, _), (_, other, _)| one.total_cmp(other));
    // If a key occurs twice, the last value counts. The sort is stable.
    buckets.dedup_by(|later, earlier| {
        let same = later.1.total_cmp(&earlier.1).is_eq() && later.0 == earlier.0;
        if same {
            earlier.2 = later.2;
        }
        same
    });
    buckets.into_iter().map(|(_, bound, value)| Some((bound, value.number()?.as_count()?))).collect()
}
