//! Resources as sums by name: `{"disk":0.0,"mem":0.0,"gpus":0.0,"cpus":0.0,"ports":"[1-2]"}`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use cluster::resources::{Quantities, Ranges, Resources, Scalar, Value};
use mesos_api::json::Writer;
use mesos_api::v1;
use mesos_api::v1::value;

/// In this order, and always there.
const ALWAYS: [&str; 4] = ["disk", "mem", "gpus", "cpus"];

/// A member whose value is the sum of resources.
pub(super) fn sum(to: &mut Writer, name: &str, resources: &Resources) {
    let mut sums = Sums::default();
    for resource in resources.iter() {
        let name = shown(&resource.name, resource.revocable);
        match &resource.value {
            Value::Scalar(scalar) => sums.add_scalar(name, scalar.as_f64()),
            Value::Ranges(ranges) => sums.add_ranges(name, ranges),
            Value::Set(set) => entry(&mut sums.sets, name).extend(set.iter().map(|item| &**item)),
        }
    }
    sums.write(to, name);
}

/// The same for resources of a message, which are shown as they came.
pub(super) fn sum_wire(to: &mut Writer, name: &str, resources: &[v1::Resource]) {
    let mut sums = Sums::default();
    for resource in resources {
        let name = shown(&resource.name, resource.revocable.is_some());
        match resource.r#type() {
            value::Type::Scalar => {
                let amount = resource.scalar.as_ref().map_or(0.0, |scalar| scalar.value);
                sums.add_scalar(name, amount);
            }
            value::Type::Ranges => {
                let ranges = resource.ranges.iter().flat_map(|ranges| &ranges.range);
                let ranges = Ranges::new(ranges.map(|range| (range.begin, range.end)));
                sums.add_ranges(name, &ranges);
            }
            value::Type::Set => {
                let items = resource.set.iter().flat_map(|set| &set.item);
                entry(&mut sums.sets, name).extend(items.map(|item| &**item));
            }
            value::Type::Text => {}
        }
    }
    sums.write(to, name);
}

fn shown(name: &str, revocable: bool) -> Cow<'_, str> {
    if revocable { format!("{name}_revocable").into() } else { name.into() }
}

/// A member whose value is amounts by name.
pub(super) fn quantities(to: &mut Writer, name: &str, quantities: &Quantities) {
    amounts(to, name, quantities.iter());
}

/// A member whose value is amounts by name.
pub(super) fn amounts<'a>(
    to: &mut Writer,
    name: &str,
    amounts: impl IntoIterator<Item = (&'a Arc<str>, Scalar)>,
) {
    to.object(name, |to| {
        for (name, amount) in amounts {
            to.name(name);
            to.f64(amount.as_f64());
        }
    });
}

/// Sums by name. Of most kinds there is one name or none, and there are thousands of sums in an
/// answer: lists that are searched cost less than maps.
#[derive(Default)]
struct Sums<'a> {
    /// Those of [`ALWAYS`].
    always: [f64; ALWAYS.len()],
    scalars: Vec<(Cow<'a, str>, f64)>,
    ranges: Vec<(Cow<'a, str>, Ranges)>,
    sets: Vec<(Cow<'a, str>, BTreeSet<&'a str>)>,
}

impl<'a> Sums<'a> {
    fn add_scalar(&mut self, name: Cow<'a, str>, amount: f64) {
        match ALWAYS.iter().position(|known| *known == name) {
            Some(at) => self.always[at] += amount,
            None => *entry(&mut self.scalars, name) += amount,
        }
    }

    fn add_ranges(&mut self, name: Cow<'a, str>, ranges: &Ranges) {
        let sum = entry(&mut self.ranges, name);
        *sum = if sum.is_empty() { ranges.clone() } else { sum.union(ranges) };
    }

    fn write(mut self, to: &mut Writer, name: &str) {
        to.object(name, |to| {
            for (name, sum) in ALWAYS.iter().zip(self.always) {
                to.name(name);
                to.f64(sum);
            }
            for (name, sum) in sorted(&mut self.scalars) {
                to.name(name);
                to.f64(*sum);
            }
            for (name, sum) in sorted(&mut self.ranges) {
                to.name(name);
                to.string(&sum.to_string());
            }
            for (name, sum) in sorted(&mut self.sets) {
                let items: Vec<&str> = sum.iter().copied().collect();
                to.name(name);
                to.string(&format!("{{{}}}", items.join(", ")));
            }
        });
    }
}

/// The value of a name, which is put into the list if it is not there.
fn entry<'l, 'a, V: Default>(
    list: &'l mut Vec<(Cow<'a, str>, V)>,
    name: Cow<'a, str>,
) -> &'l mut V {
    let at = list.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
        list.push((name, V::default()));
        list.len() - 1
    });
    &mut list[at].1
}

fn sorted<'l, 'a, V>(list: &'l mut [(Cow<'a, str>, V)]) -> &'l [(Cow<'a, str>, V)] {
    list.sort_by(|(a, _), (b, _)| a.cmp(b));
    list
}
