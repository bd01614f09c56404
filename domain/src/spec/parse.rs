//! From text to a validated configuration.
//!
//! YAML: once for its outline (syntax, duplicate keys, `type:`), once into the concrete struct, so that positions survive.
//! JSON: requests from clients are strict, stored rows and peers' replies are lenient, for a newer version may have written them.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::configuration::{AnyConfiguration, ConfigurationType, RunConfiguration, unknown_type};
use super::env::{Env, EnvValue};
use super::outline::Outline;
use super::profiles_file::ProfilesFile;
use super::spec_error::{Position, SpecError};
use super::validate;
use super::wording::reworded;

/// A configuration longer than this is a mistake, such as a data file given by its wrong name.
const MOST_BYTES: usize = 1024 * 1024;

/// Reads and validates one configuration. `file` is only how errors call it.
pub fn parse_yaml(file: &str, text: &str) -> Result<AnyConfiguration, SpecError> {
    let source = Source::read(file, text)?;
    let (kind, _) = source.kind()?;
    let mut configuration = match kind {
        ConfigurationType::DevEnvironment => {
            AnyConfiguration::Run(RunConfiguration::DevEnvironment(source.parse()?))
        }
        ConfigurationType::Task => AnyConfiguration::Run(RunConfiguration::Task(source.parse()?)),
        ConfigurationType::Service => {
            AnyConfiguration::Run(RunConfiguration::Service(source.parse()?))
        }
        ConfigurationType::Fleet => AnyConfiguration::Fleet(source.parse()?),
        ConfigurationType::Volume => AnyConfiguration::Volume(source.parse()?),
        ConfigurationType::Gateway => AnyConfiguration::Gateway(source.parse()?),
    };
    if let Some(env) = env_of(&mut configuration) {
        source.restore_env(env);
    }
    validate::configuration(&configuration).map_err(|error| source.found_later(error))?;
    Ok(configuration)
}

/// Reads `.dstack/profiles.yml`.
pub fn parse_profiles(file: &str, text: &str) -> Result<ProfilesFile, SpecError> {
    let source = Source::read(file, text)?;
    let profiles: Box<ProfilesFile> = source.parse()?;
    profiles
        .check()
        .map_err(|error| source.found_later(error))?;
    Ok(*profiles)
}

/// Reads a request body: unknown keys are refused.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, SpecError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let parsed =
        serde_path_to_error::deserialize(&mut reader).map_err(|error| json_error(&error))?;
    reader
        .end()
        .map_err(|error| SpecError::new("", format!("not JSON: {error}")))?;
    Ok(parsed)
}

/// As [`parse_json`], from a value that was parsed already.
pub fn parse_json_value<T: DeserializeOwned>(value: Value) -> Result<T, SpecError> {
    serde_path_to_error::deserialize(value).map_err(|error| json_error(&error))
}

/// Reads what another version may have written: keys unknown to this one are dropped.
pub fn read_stored<T: DeserializeOwned>(mut value: Value) -> Result<T, SpecError> {
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(read) => return Ok(read),
            Err(error) => json_error(&error),
        };
        if !error.message().starts_with("unknown key ") || !remove(&mut value, error.path()) {
            return Err(error);
        }
    }
}

/// Whether something stood at the path, and stands there no longer.
fn remove(value: &mut Value, path: &str) -> bool {
    use super::outline::{Step, steps};
    let mut steps = steps(path);
    let Some(Step::Key(last)) = steps.pop() else {
        return false;
    };
    let parent = steps.iter().try_fold(value, |here, step| match step {
        Step::Key(key) => here.get_mut(*key),
        Step::Index(index) => here.get_mut(*index),
    });
    parent
        .and_then(Value::as_object_mut)
        .and_then(|members| members.remove(last))
        .is_some()
}

fn json_error(error: &serde_path_to_error::Error<serde_json::Error>) -> SpecError {
    let inner = error.inner();
    let text = inner.to_string();
    // serde_json appends " at line 1 column 5".
    let raw = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(raw, _)| raw);
    if inner.is_syntax() || inner.is_eof() {
        return SpecError::new("", format!("not JSON: {text}"));
    }
    let position = (inner.line() > 0).then(|| Position {
        line: inner.line(),
        column: inner.column(),
    });
    reworded(&error.path().to_string(), raw).at(position)
}

fn env_of(configuration: &mut AnyConfiguration) -> Option<&mut Env> {
    match configuration {
        AnyConfiguration::Run(run) => Some(&mut run.common_mut().env),
        AnyConfiguration::Fleet(fleet) => Some(&mut fleet.env),
        _ => None,
    }
}

fn options() -> serde_saphyr::Options {
    let mut options = serde_saphyr::Options::default();
    options.with_snippet = false;
    options
}

struct Source<'a> {
    file: &'a str,
    text: &'a str,
    outline: Outline,
}

impl<'a> Source<'a> {
    fn read(file: &'a str, text: &'a str) -> Result<Self, SpecError> {
        if text.len() > MOST_BYTES {
            let message = format!(
                "the file has {} bytes; a configuration has at most {MOST_BYTES}",
                text.len()
            );
            return Err(SpecError::new("", message).in_file(file, text, None));
        }
        let outline = serde_saphyr::from_str_with_options(text, options())
            .map_err(|error| yaml_error(".", &error, file, text))?;
        if matches!(outline, Outline::Other)
            && text
                .lines()
                .all(|line| line.trim_start().starts_with('#') || line.trim().is_empty())
        {
            let error =
                SpecError::new("", "the file is empty").with_hint("begin with `type: task`");
            return Err(error.in_file(file, text, None));
        }
        if !matches!(outline, Outline::Map(_)) {
            let error = SpecError::new("", "a configuration is a mapping")
                .with_hint("begin with `type: task`");
            return Err(error.in_file(file, text, Some(Position { line: 1, column: 1 })));
        }
        Ok(Self {
            file,
            text,
            outline,
        })
    }

    fn kind(&self) -> Result<(ConfigurationType, Position), SpecError> {
        let all: Vec<String> = ConfigurationType::ALL
            .map(|kind| kind.as_str().to_owned())
            .to_vec();
        let Some((_, value)) = self.outline.entry("type") else {
            let error = SpecError::new("type", "the key `type` is missing").with_advice(all, None);
            return Err(error.in_file(self.file, self.text, Some(Position { line: 1, column: 1 })));
        };
        let position = position(&value.referenced);
        let refused = |message: String, hint| {
            SpecError::new("type", message)
                .with_advice(all.clone(), hint)
                .in_file(self.file, self.text, Some(position))
        };
        let Outline::Text(text) = &value.value else {
            return Err(refused(
                "expected the name of a configuration type".to_owned(),
                None,
            ));
        };
        if let Some(kind) = ConfigurationType::parse(text) {
            return Ok((kind, position));
        }
        let message = unknown_type(text, &ConfigurationType::ALL);
        let message = message
            .split(", expected ")
            .next()
            .unwrap_or(&message)
            .to_owned();
        let hint =
            super::wording::nearest(text, &all).map(|close| format!("did you mean `{close}`?"));
        Err(refused(message, hint))
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<Box<T>, SpecError> {
        let mut path = String::from(".");
        let parsed =
            serde_saphyr::with_deserializer_from_str_with_options(self.text, options(), |reader| {
                serde_path_to_error::deserialize(reader).map_err(
                    |error: serde_path_to_error::Error<serde_saphyr::Error>| {
                        path = error.path().to_string();
                        error.into_inner()
                    },
                )
            });
        parsed.map(Box::new).map_err(|error| {
            let error = yaml_error(&path, &error, self.file, self.text);
            match self.outline.at(error.path()) {
                Some(Outline::Text(text)) => error.found(text),
                Some(Outline::Map(_)) => error.found_shape("a mapping"),
                Some(Outline::Seq(_)) => error.found_shape("a list"),
                _ => error,
            }
        })
    }

    /// An error that knows its path only. What is missing altogether is shown where the configuration says what it is.
    fn found_later(&self, error: SpecError) -> SpecError {
        let location = self.outline.locate(error.path());
        let location = location.or_else(|| self.outline.locate("type"));
        error.in_file(
            self.file,
            self.text,
            location.map(|location| position(&location)),
        )
    }

    /// `VERSION: 1.10` is the number 1.1 to YAML. Variables are text, so they get back what was written.
    fn restore_env(&self, env: &mut Env) {
        let Some((_, value)) = self.outline.entry("env") else {
            return;
        };
        let Outline::Map(entries) = &value.value else {
            return;
        };
        for (name, value) in entries {
            let span = value.referenced.span();
            let written = match (&value.value, span.byte_offset(), span.byte_len()) {
                (Outline::Other, Some(offset), Some(length)) => self
                    .text
                    .get(offset as usize..(offset + length) as usize)
                    .map(str::trim),
                _ => None,
            };
            if let (Some(written), Some(EnvValue::Value(kept))) =
                (written, env.0.get_mut(&name.value))
                && !written.is_empty()
            {
                *kept = written.to_owned();
            }
        }
    }
}

fn position(location: &serde_saphyr::Location) -> Position {
    Position {
        line: location.line() as usize,
        column: location.column() as usize,
    }
}

fn yaml_error(path: &str, error: &serde_saphyr::Error, file: &str, text: &str) -> SpecError {
    let rendered = error.to_string();
    let raw = rendered
        .rsplit_once(" at line ")
        .map_or(rendered.as_str(), |(raw, _)| raw);
    let place = error.location().map(|location| position(&location));
    // Templates look like YAML's own braces, and `{{` is the commonest way to break a file.
    let error = reworded(path, raw);
    let error = match place.and_then(|place| text.lines().nth(place.line.saturating_sub(1))) {
        Some(line) if error.hint().is_none() && line.contains("{{") && !line.contains(['"', '\'']) => {
            error.with_hint("a value that begins with `{{` must stand in quotes; references are written `${{ … }}`")
        }
        _ => error,
    };
    error.in_file(file, text, place)
}
