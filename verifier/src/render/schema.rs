//! The JSON Schema of a report, from the types themselves.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::report::{SCHEMA, VerifyReport};

/// The schema of [`VerifyReport`]'s JSON form, draft 2020-12. Committed as `docs/schema/verify-report.json`.
pub fn json_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<VerifyReport>().to_value();
    schema["title"] = "corer verification report".into();
    schema["properties"]["schema"]["const"] = SCHEMA.into();
    schema
}
