//! Resources as sums by name: `{"disk":0.0,"mem":0.0,"gpus":0.0,"cpus":0.0,"ports":"[1-2]"}`.

use std::collections::{BTreeMap, BTreeSet};
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
        let name = match resource.revocable {
            true => format!("{}_revocable", resource.name),
            false => resource.name.to_string(),
        };
        match &resource.value {
            Value::Scalar(scalar) => *sums.scalars.entry(name).or_default() += scalar.as_f64(),
            Value::Ranges(ranges) => sums.add_ranges(name, ranges),
            Value::Set(set) => sums.sets.entry(name).or_default().extend(set.iter().cloned()),
        }
    }
    sums.write(to, name);
}

/// The same for resources of a message, which are shown as they came.
pub(super) fn sum_wire(to: &mut Writer, name: &str, resources: &[v1::Resource]) {
    let mut sums = Sums::default();
    for resource in resources {
        let name = match resource.revocable {
            Some(_) => format!("{}_revocable", resource.name),
            None => resource.name.clone(),
        };
        match resource.r#type() {
            value::Type::Scalar => {
                let amount = resource.scalar.as_ref().map_or(0.0, |scalar| scalar.value);
                *sums.scalars.entry(name).or_default() += amount;
            }
            value::Type::Ranges => {
                let ranges = resource.ranges.iter().flat_map(|ranges| &ranges.range);
                let ranges = Ranges::new(ranges.map(|range| (range.begin, range.end)));
                sums.add_ranges(name, &ranges);
            }
            value::Type::Set => {
                let items = resource.set.iter().flat_map(|set| &set.item);
                sums.sets.entry(name).or_default().extend(items.map(|item| Arc::from(&**item)));
            }
            value::Type::Text => {}
        }
    }
    sums.write(to, name);
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

#[derive(Default)]
struct Sums {
    scalars: BTreeMap<String, f64>,
    ranges: BTreeMap<String, Ranges>,
    sets: BTreeMap<String, BTreeSet<Arc<str>>>,
}

impl Sums {
    fn add_ranges(&mut self, name: String, ranges: &Ranges) {
        let sum = self.ranges.entry(name).or_default();
        *sum = sum.union(ranges);
    }

    fn write(mut self, to: &mut Writer, name: &str) {
        to.object(name, |to| {
            for name in ALWAYS {
                to.name(name);
                to.f64(self.scalars.remove(name).unwrap_or_default());
            }
            for (name, sum) in &self.scalars {
                to.name(name);
                to.f64(*sum);
            }
            for (name, sum) in &self.ranges {
                to.name(name);
                to.string(&sum.to_string());
            }
            for (name, sum) in &self.sets {
                let items: Vec<&str> = sum.iter().map(AsRef::as_ref).collect();
                to.name(name);
                to.string(&format!("{{{}}}", items.join(", ")));
            }
        });
    }
}
