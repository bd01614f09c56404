//! Offers put together.

use super::resources::{availability, price, size};
use super::{Table, data};
use dstack_api::http::gpus::{GpuList, Group, Span};

/// One row a group.
pub fn groups(list: &GpuList) {
    let mut table = Table::new(&["#", "GPU", "SPOT", "$/GPU", "BACKENDS", ""]);
    for (at, gpu) in list.gpus.iter().enumerate() {
        let name = format!("{}:{}:{}", gpu.name, size(gpu.memory_mib), span(&gpu.count));
        table.row(row(at, name, prices(&gpu.price), &gpu.common));
    }
    for (at, cpu) in list.cpus.iter().flatten().enumerate() {
        let memory = Span {
            min: size(cpu.memory_mib.min),
            max: size(cpu.memory_mib.max),
        };
        let name = format!("cpu={} mem={}", span(&cpu.count), span(&memory));
        table.row(row(at, name, prices(&cpu.price), &cpu.common));
    }
    if list.gpus.is_empty() && list.cpus.as_ref().is_none_or(Vec::is_empty) {
        super::talk("No offers: no instance of the project's fleets has what is asked for");
    } else {
        table.print();
        data("");
    }
}

fn row(at: usize, name: String, price: String, group: &Group) -> [String; 6] {
    let backends: Vec<&str> = group
        .backends
        .iter()
        .flatten()
        .chain(&group.backend)
        .map(|backend| backend.as_str())
        .collect();
    let mut usable = group.availability.iter().map(|word| availability(*word));
    [
        (at + 1).to_string(),
        name,
        group.spot.join(", "),
        price,
        backends.join(", "),
        usable.next().unwrap_or_default().to_owned(),
    ]
}

fn span<T: PartialEq + std::fmt::Display>(span: &Span<T>) -> String {
    if span.min == span.max {
        span.min.to_string()
    } else {
        format!("{}..{}", span.min, span.max)
    }
}

fn prices(dollars: &Span<f64>) -> String {
    span(&Span {
        min: price(dollars.min),
        max: price(dollars.max),
    })
}
