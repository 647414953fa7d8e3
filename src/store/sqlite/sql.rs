//! Statements and rows: `rusqlite` with rows that outlive their statement, so that an operation can change what it goes through.
//!
//! Statements are prepared once for each connection and text, and kept.

use super::failure;
use crate::store::StoreError;
use rusqlite::types::{FromSql, ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{CachedStatement, Connection, params_from_iter};
use std::borrow::Cow;
use std::rc::Rc;

/// A statement and the values of its parameters `?1`, `?2`, …
pub(super) struct Sql {
    text: Cow<'static, str>,
    values: Vec<Value>,
    /// Of a value that SQLite has no type for.
    error: Option<StoreError>,
}

/// A statement that has no values yet.
pub(super) fn sql(text: &'static str) -> Sql {
    Sql { text: Cow::Borrowed(text), values: Vec::new(), error: None }
}

impl Sql {
    /// The value of the next parameter.
    pub(super) fn bind(mut self, value: impl ToSql) -> Self {
        self.push_value(value);
        self
    }

    /// Text that follows.
    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.to_mut().push_str(text);
        self
    }

    /// The next parameter at the end of the text, and its value.
    pub(super) fn push_bind(&mut self, value: impl ToSql) -> &mut Self {
        self.push_value(value);
        let parameter = format!("?{}", self.values.len());
        self.push(&parameter)
    }

    fn push_value(&mut self, value: impl ToSql) {
        let owned = value.to_sql().and_then(|value| match value {
            ToSqlOutput::Owned(value) => Ok(value),
            ToSqlOutput::Borrowed(value) => Ok(owned(value)),
            _ => Err(rusqlite::Error::ToSqlConversionFailure("SQLite has no type for it".into())),
        });
        match owned {
            Ok(value) => self.values.push(value),
            Err(error) => self.error = Some(failure(error)),
        }
    }

    /// Runs it; how many rows it changed.
    pub(super) fn run(self, connection: &Connection) -> Result<u64, StoreError> {
        let mut statement = self.prepare(connection)?;
        statement.execute(params_from_iter(self.values)).map(|rows| rows as u64).map_err(failure)
    }

    /// Its first row.
    pub(super) fn optional(self, connection: &Connection) -> Result<Option<Row>, StoreError> {
        Ok(self.read(connection, 1)?.pop())
    }

    /// The row of a statement that has one.
    pub(super) fn one(self, connection: &Connection) -> Result<Row, StoreError> {
        let what = self.text.clone();
        self.optional(connection)?.ok_or_else(|| StoreError::Other(format!("no row where there must be one: {what}")))
    }

    /// All its rows, of which there must be a bounded number.
    pub(super) fn all(self, connection: &Connection) -> Result<Vec<Row>, StoreError> {
        self.read(connection, usize::MAX)
    }

    fn prepare<'c>(&self, connection: &'c Connection) -> Result<CachedStatement<'c>, StoreError> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None => connection.prepare_cached(&self.text).map_err(failure),
        }
    }

    fn read(self, connection: &Connection, rows_max: usize) -> Result<Vec<Row>, StoreError> {
        let mut statement = self.prepare(connection)?;
        let columns: Rc<[String]> = statement.column_names().map(String::from).collect();
        let mut rows = statement.query(params_from_iter(self.values)).map_err(failure)?;
        let mut found = Vec::new();
        while found.len() < rows_max
            && let Some(row) = rows.next().map_err(failure)?
        {
            let values = (0..columns.len()).map(|at| row.get_ref(at).map(owned)).collect::<Result<_, _>>();
            let values = values.map_err(failure)?;
            found.push(Row { columns: Rc::clone(&columns), values });
        }
        Ok(found)
    }
}

/// Text that is none, in a row that went bad, is kept as a blob: whoever asks for that column finds it, and nobody else is disturbed.
fn owned(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Integer(value),
        ValueRef::Real(value) => Value::Real(value),
        ValueRef::Text(bytes) => match str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Blob(bytes.to_vec()),
        },
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

/// A row that was read.
pub(super) struct Row {
    columns: Rc<[String]>,
    values: Vec<Value>,
}

/// The value of a column, by the column's name.
pub(super) fn get<'r, T: Column<'r>>(row: &'r Row, column: &str) -> Result<T, StoreError> {
    let at = row.columns.iter().position(|name| name == column);
    let value = at.and_then(|at| row.values.get(at)).ok_or_else(|| StoreError::Other(format!("no column {column}")))?;
    T::of(value).ok_or_else(|| {
        StoreError::Corrupt(format!("found {} in the column {column}, expected {}", value.data_type(), T::EXPECTED))
    })
}

/// What a column's value can be read as.
pub(super) trait Column<'r>: Sized {
    /// For the error where it is something else.
    const EXPECTED: &'static str;
    fn of(value: &'r Value) -> Option<Self>;
}

impl<'r> Column<'r> for &'r str {
    const EXPECTED: &'static str = "text";
    fn of(value: &'r Value) -> Option<Self> {
        ValueRef::from(value).as_str().ok()
    }
}

impl<'r> Column<'r> for &'r [u8] {
    const EXPECTED: &'static str = "a blob";
    fn of(value: &'r Value) -> Option<Self> {
        ValueRef::from(value).as_blob().ok()
    }
}

impl<'r, T: Column<'r>> Column<'r> for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn of(value: &'r Value) -> Option<Self> {
        if *value == Value::Null { Some(None) } else { T::of(value).map(Some) }
    }
}

macro_rules! owned_columns {
    ($($type:ty: $expected:literal),+) => {$(
        impl Column<'_> for $type {
            const EXPECTED: &'static str = $expected;
            fn of(value: &Value) -> Option<Self> {
                FromSql::column_result(value.into()).ok()
            }
        }
    )+};
}

owned_columns!(
    String: "text", Vec<u8>: "a blob", i64: "an integer", u32: "an integer from 0 to 2³²-1", f64: "a number", bool: "an integer"
);
