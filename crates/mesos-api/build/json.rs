//! Writes the code that reads and writes each message as JSON, from the messages' descriptors.

use std::fmt::Write as _;

use heck::{ToSnakeCase, ToUpperCamelCase};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// The whole generated file.
pub(crate) fn generate(set: &FileDescriptorSet) -> String {
    let mut code = String::new();
    for file in &set.file {
        let package = format!(".{}", file.package());
        for message in &file.message_type {
            one(&mut code, &format!("{package}.{}", message.name()), message);
        }
    }
    code
}

fn one(code: &mut String, full: &str, message: &DescriptorProto) {
    if message.options.as_ref().is_some_and(|options| options.map_entry()) {
        return;
    }
    for nested in &message.nested_type {
        one(code, &format!("{full}.{}", nested.name()), nested);
    }
    let fields: Vec<Field<'_>> =
        message.field.iter().map(|field| Field { field, message, full }).collect();
    let parts = Parts {
        writes: fields.iter().map(Field::write).collect(),
        reads: fields.iter().enumerate().map(|(bit, field)| field.read(bit)).collect(),
        checks: fields.iter().enumerate().filter_map(|(bit, field)| field.check(bit)).collect(),
    };
    let table = table_name(full);
    push(
        code,
        &format!(
            "impl Json for {rust} {{
    fn write_json(&self, to: &mut Writer) {{
        to.begin_object();
        {writes}
        to.end_object();
    }}
    fn read_json(&mut self, from: &Reader<'_>, missing: &mut Missing) -> Result<(), JsonError> {{
        let mut seen = 0_u64;
        for (name, value) in from.members() {{
            match name {{
                {reads}
                _ => {{}}
            }}
        }}
        {checks}
        Ok(())
    }}
    fn table() -> &'static Table {{ &{table} }}
}}
static {table}: Table = Table {{ required: &[{required}], messages: &[{messages}] }};
",
            rust = rust_path(full),
            writes = parts.writes,
            reads = parts.reads,
            checks = parts.checks,
            required = message
                .field
                .iter()
                .filter(|field| field.label() == Label::Required)
                .map(|field| format!("({}, {:?}),", field.number(), field.name()))
                .collect::<String>(),
            messages = message
                .field
                .iter()
                .filter(|field| field.r#type() == Type::Message
                    && entry(message, full, field).is_none())
                .map(|field| format!(
                    "({}, {:?}, &{}),",
                    field.number(),
                    field.name(),
                    table_name(field.type_name())
                ))
                .collect::<String>(),
        ),
    );
}

struct Parts {
    writes: String,
    reads: String,
    checks: String,
}

struct Field<'a> {
    field: &'a FieldDescriptorProto,
    message: &'a DescriptorProto,
    full: &'a str,
}

impl Field<'_> {
    /// The Rust name of the field.
    fn rust(&self) -> String {
        escape(&self.field.name().to_snake_case())
    }

    /// The oneof the field is part of: its Rust name and the path of its type.
    fn oneof(&self) -> Option<(String, String)> {
        let index = usize::try_from(self.field.oneof_index?).ok()?;
        let name = self.message.oneof_decl.get(index)?.name();
        let path = format!("{}::{}", module_path(self.full), name.to_upper_camel_case());
        Some((name.to_snake_case(), path))
    }

    fn write(&self) -> String {
        let name = self.field.name();
        let rust = self.rust();
        if let Some((oneof, path)) = self.oneof() {
            let variant = name.to_upper_camel_case();
            let value = self.value("value", Held::Reference);
            return format!(
                "if let Some({path}::{variant}(value)) = &self.{oneof} {{ to.name({name:?}); {value} }}\n"
            );
        }
        if let Some(entry) = entry(self.message, self.full, self.field) {
            let inner = Field { field: entry, message: self.message, full: self.full };
            let value = inner.value("value", Held::Reference);
            return format!(
                "if !self.{rust}.is_empty() {{ to.object({name:?}, |to| for (key, value) in &self.{rust} {{ to.name(key); {value} }}); }}\n"
            );
        }
        match self.field.label() {
            Label::Repeated => {
                let value = self.value("value", Held::Reference);
                format!(
                    "if !self.{rust}.is_empty() {{ to.array({name:?}, |to| for value in &self.{rust} {{ {value} }}); }}\n"
                )
            }
            Label::Required => {
                let value = self.value(&format!("self.{rust}"), Held::Value);
                self.named(&value)
            }
            Label::Optional => {
                let default = self.default();
                if default.is_some() && !self.deprecated() {
                    return self.write_defaulted();
                }
                let value = self.value("value", Held::Reference);
                self.named(&value)
            }
        }
    }

    /// Writes name and value; of an enumeration, only if the value has a name.
    fn named(&self, value: &str) -> String {
        let name = self.field.name();
        if self.field.r#type() == Type::Enum {
            let path = rust_path(self.field.type_name());
            let rust = self.rust();
            let found = if self.field.label() == Label::Required {
                format!("Ok(value) = {path}::try_from(self.{rust})")
            } else {
                format!("Some(Ok(value)) = self.{rust}.map({path}::try_from)")
            };
            return format!(
                "if let {found} {{ to.name({name:?}); to.string(value.as_str_name()); }}\n"
            );
        }
        if self.field.label() == Label::Required {
            format!("to.name({name:?}); {value}\n")
        } else {
            format!("if let Some(value) = &self.{} {{ to.name({name:?}); {value} }}\n", self.rust())
        }
    }

    /// Writes a field that has a default, which stands for an unset one.
    fn write_defaulted(&self) -> String {
        let name = self.field.name();
        let getter = format!("self.{}()", self.rust());
        let value = match self.field.r#type() {
            Type::Enum => format!("to.string({getter}.as_str_name());"),
            Type::String => format!("to.string({getter});"),
            _ => self.value(&getter, Held::Value),
        };
        format!("to.name({name:?}); {value}\n")
    }

    /// Writes a value that is held in `from`.
    fn value(&self, from: &str, held: Held) -> String {
        let (copied, referred) = match held {
            Held::Value => (from.to_owned(), format!("&{from}")),
            Held::Reference => (format!("*{from}"), from.to_owned()),
        };
        match self.field.r#type() {
            Type::Double => format!("to.f64({copied});"),
            Type::Int32 | Type::Sint32 => format!("to.i64(i64::from({copied}));"),
            Type::Uint32 => format!("to.u64(u64::from({copied}));"),
            Type::Int64 => format!("to.i64({copied});"),
            Type::Uint64 => format!("to.u64({copied});"),
            Type::Bool => format!("to.bool({copied});"),
            Type::String => format!("to.string({referred});"),
            Type::Bytes => format!("to.bytes({referred});"),
            Type::Message => format!("{from}.write_json(to);"),
            Type::Enum => format!(
                "if let Ok(value) = {}::try_from({copied}) {{ to.string(value.as_str_name()); }}",
                rust_path(self.field.type_name())
            ),
            other => panic!("{}.{}: no JSON for {other:?}", self.full, self.field.name()),
        }
    }

    fn read(&self, bit: usize) -> String {
        let name = self.field.name();
        let rust = self.rust();
        let field = format!("Field {{ number: {}, name: {name:?} }}", self.field.number());
        let body = if let Some((oneof, path)) = self.oneof() {
            let variant = name.to_upper_camel_case();
            if self.field.r#type() == Type::Message {
                format!(
                    "let mut message = {}::default(); missing.inside({field}, None, &mut message, value)?; self.{oneof} = Some({path}::{variant}(message));",
                    rust_path(self.field.type_name())
                )
            } else {
                self.scalar(Label::Optional, &|value| {
                    format!("self.{oneof} = Some({path}::{variant}({value}));")
                })
            }
        } else if let Some(entry) = entry(self.message, self.full, self.field) {
            let one = if entry.r#type() == Type::Message {
                "missing.inside(Field { number: 2, name: \"value\" }, None, entry, value)"
                    .to_owned()
            } else {
                "Scalar::read(value, \"value\").map(|value| *entry = value)".to_owned()
            };
            format!(
                "each(value, &mut |value| map(&mut self.{rust}, value, {name:?}, |entry, value| {one}))?;"
            )
        } else if self.field.r#type() == Type::Message {
            let message = match self.field.label() {
                Label::Repeated => {
                    return format!(
                        "{name:?} => each(value, &mut |value| {{ let index = self.{rust}.len(); let mut message = {}::default(); missing.inside({field}, Some(index), &mut message, value)?; self.{rust}.push(message); Ok(()) }})?,\n",
                        rust_path(self.field.type_name())
                    );
                }
                Label::Required => format!("&mut self.{rust}"),
                Label::Optional if self.boxed() => {
                    format!("&mut **self.{rust}.get_or_insert_default()")
                }
                Label::Optional => format!("self.{rust}.get_or_insert_default()"),
            };
            format!("missing.inside({field}, None, {message}, value)?; {}", self.mark(bit))
        } else {
            match self.field.label() {
                Label::Repeated => {
                    let one = self
                        .scalar(Label::Repeated, &|value| format!("self.{rust}.push({value});"));
                    format!("each(value, &mut |value| {{ {one} Ok(()) }})?;")
                }
                Label::Required => {
                    let mark = self.mark(bit);
                    self.scalar(Label::Required, &|value| format!("self.{rust} = {value}; {mark}"))
                }
                Label::Optional => {
                    self.scalar(Label::Optional, &|value| format!("self.{rust} = Some({value});"))
                }
            }
        };
        format!("{name:?} => {{ {body} }}\n")
    }

    /// Reads a value that is no message, and stores it with the code that `store` gives.
    fn scalar(&self, label: Label, store: &dyn Fn(&str) -> String) -> String {
        let name = self.field.name();
        if self.field.r#type() == Type::Enum {
            let path = rust_path(self.field.type_name());
            let required = if label == Label::Required { "Yes" } else { "No" };
            let store = store("value");
            return format!(
                "if let Some(value) = enumeration(value, {name:?}, Required::{required}, {path}::from_str_name)? {{ {store} }}"
            );
        }
        store(&format!("Scalar::read(value, {name:?})?"))
    }

    fn mark(&self, bit: usize) -> String {
        match self.field.label() {
            Label::Required => format!("seen |= 1 << {bit};"),
            _ => String::new(),
        }
    }

    fn check(&self, bit: usize) -> Option<String> {
        (self.field.label() == Label::Required).then(|| {
            let (number, name) = (self.field.number(), self.field.name());
            format!("if seen & (1 << {bit}) == 0 {{ missing.note({number}, {name:?}); }}\n")
        })
    }

    fn default(&self) -> Option<&str> {
        self.field.default_value.as_deref()
    }

    fn deprecated(&self) -> bool {
        self.field.options.as_ref().is_some_and(|options| options.deprecated())
    }

    /// A message inside itself is boxed by prost, others if it is told so.
    fn boxed(&self) -> bool {
        let path = format!("{}.{}", self.full, self.field.name());
        self.field.type_name() == self.full || super::BOXED.contains(&&*path)
    }
}

enum Held {
    Value,
    Reference,
}

/// The value field of a map's entries, if the field is a map.
fn entry<'a>(
    message: &'a DescriptorProto,
    full: &str,
    field: &FieldDescriptorProto,
) -> Option<&'a FieldDescriptorProto> {
    message
        .nested_type
        .iter()
        .filter(|nested| nested.options.as_ref().is_some_and(|options| options.map_entry()))
        .find(|nested| field.type_name() == format!("{full}.{}", nested.name()))
        .and_then(|entry| entry.field.iter().find(|field| field.number() == 2))
}

/// `.mesos.v1.Offer.Operation` is `v1::offer::Operation`.
fn rust_path(full: &str) -> String {
    let (parent, name) = full.rsplit_once('.').unwrap_or(("", full));
    format!("{}::{}", module_path(parent), name.to_upper_camel_case())
}

fn module_path(full: &str) -> String {
    let parts: Vec<String> = full
        .split('.')
        .filter(|part| !part.is_empty())
        .skip(1)
        .map(|part| escape(&part.to_snake_case()))
        .collect();
    parts.join("::")
}

fn table_name(full: &str) -> String {
    full.trim_start_matches('.').replace('.', "_").to_uppercase()
}

fn escape(name: &str) -> String {
    match name {
        "type" => "r#type".to_owned(),
        _ => name.to_owned(),
    }
}

fn push(code: &mut String, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(code, "{text}");
}
