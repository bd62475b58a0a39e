//! Values of D-Bus as they go over the wire (D-Bus specification, "Marshaling").
//! Pure.

/// A value, or several, of the types that systemd's properties have.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Byte(u8),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    Double(f64),
    Text(String),
    /// All of one signature, which an empty one cannot tell by its elements.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    Variant(Box<Value>),
}

impl Value {
    /// Returns a text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Returns a list of texts.
    pub(super) fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        let texts = texts.into_iter().map(Self::text);
        Self::Array("s".to_owned(), texts.collect())
    }

    /// Returns a list of bytes.
    pub(super) fn bytes(bytes: impl IntoIterator<Item = u8>) -> Self {
        let bytes = bytes.into_iter().map(Self::Byte);
        Self::Array("y".to_owned(), bytes.collect())
    }

    /// Returns its type as D-Bus spells it.
    pub(super) fn signature(&self) -> String {
        match self {
            Self::Bool(_) => "b".to_owned(),
            Self::Byte(_) => "y".to_owned(),
            Self::Int32(_) => "i".to_owned(),
            Self::Uint32(_) => "u".to_owned(),
            Self::Int64(_) => "x".to_owned(),
            Self::Uint64(_) => "t".to_owned(),
            Self::Double(_) => "d".to_owned(),
            Self::Text(_) => "s".to_owned(),
            Self::Array(element, _) => format!("a{element}"),
            Self::Struct(fields) => {
                let fields: String = fields.iter().map(Self::signature).collect();
                format!("({fields})")
            }
            Self::Variant(_) => "v".to_owned(),
        }
    }

    /// Appends it to a message's part that begins at an offset of eight.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Bool(value) => write_number(bytes, u32::from(*value).to_ne_bytes()),
            Self::Byte(value) => bytes.push(*value),
            Self::Int32(value) => write_number(bytes, value.to_ne_bytes()),
            Self::Uint32(value) => write_number(bytes, value.to_ne_bytes()),
            Self::Int64(value) => write_number(bytes, value.to_ne_bytes()),
            Self::Uint64(value) => write_number(bytes, value.to_ne_bytes()),
            Self::Double(value) => write_number(bytes, value.to_ne_bytes()),
            Self::Text(text) => {
                write_number(bytes, length(text.len()).to_ne_bytes());
                bytes.extend_from_slice(text.as_bytes());
                bytes.push(0);
            }
            Self::Array(element, values) => write_array(bytes, element, values),
            Self::Struct(fields) => {
                pad(bytes, 8);
                fields.iter().for_each(|field| field.write(bytes));
            }
            Self::Variant(value) => {
                write_signature(bytes, &value.signature());
                value.write(bytes);
            }
        }
    }
}

/// Fills up to a multiple of `alignment`.
pub(super) fn pad(bytes: &mut Vec<u8>, alignment: usize) {
    bytes.resize(bytes.len().next_multiple_of(alignment), 0);
}

pub(super) fn write_signature(bytes: &mut Vec<u8>, signature: &str) {
    bytes.push(u8::try_from(signature.len()).expect("our signatures are short"));
    bytes.extend_from_slice(signature.as_bytes());
    bytes.push(0);
}

fn write_number<const SIZE: usize>(bytes: &mut Vec<u8>, number: [u8; SIZE]) {
    pad(bytes, SIZE);
    bytes.extend_from_slice(&number);
}

fn write_array(bytes: &mut Vec<u8>, element: &str, values: &[Value]) {
    write_number(bytes, 0_u32.to_ne_bytes());
    let place = bytes.len() - size_of::<u32>();
    // Not counted in the length, and there even when nothing follows.
    pad(bytes, alignment(element));
    let begin = bytes.len();
    values.iter().for_each(|value| value.write(bytes));
    let size = length(bytes.len() - begin);
    bytes[place..place + size_of::<u32>()].copy_from_slice(&size.to_ne_bytes());
}

fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'x' | b't' | b'd' | b'(') => 8,
        Some(b'y' | b'v' | b'g') | None => 1,
        Some(_) => 4,
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a specification is smaller")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        bytes
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn values_are_aligned_and_counted() {
        let check = |value: Value, signature: &str, expected: &[u8]| {
            assert_eq!(value.signature(), signature);
            assert_eq!(written(&value), expected, "{value:?}");
        };
        check(Value::Bool(true), "b", &[1, 0, 0, 0]);
        check(Value::text("ab"), "s", b"\x02\0\0\0ab\0");
        check(Value::bytes([7, 8]), "ay", &[2, 0, 0, 0, 7, 8]);
        check(Value::texts(["a"]), "as", b"\x06\0\0\0\x01\0\0\0a\0");
        let pair = Value::Struct(vec![Value::Byte(1), Value::Uint64(2)]);
        let bytes = [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
        check(pair.clone(), "(yt)", &bytes);
        // Four bytes between the length and the first are none of the array.
        let list = Value::Array("(yt)".to_owned(), vec![pair]);
        let head = [16, 0, 0, 0, 0, 0, 0, 0];
        check(list, "a(yt)", &[&head[..], &bytes].concat());
        let empty = Value::Array("(ss)".to_owned(), Vec::new());
        check(empty, "a(ss)", &[0; 8]);
        let variant = Value::Variant(Box::new(Value::Uint32(5)));
        check(variant, "v", b"\x01u\0\0\x05\0\0\0");
    }
}
