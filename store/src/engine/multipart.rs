//! `multipart/form-data`, as far as ClickHouse's clients send query parameters in it. Pure. External tables (parts that are files) are
//! refused with a sentence.

/// A form that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FormError {
    /// The header or the body breaks the format.
    #[error("the multipart form cannot be read: {0}")]
    Broken(&'static str),
    /// A part is a file.
    #[error("the form's part `{0}` is a file: external tables are not served by the embedded engine")]
    File(String),
}

/// The boundary that a `Content-Type` names, if it is a multipart form.
pub fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    (!value.is_empty()).then_some(value)
}

/// The fields of a form, in order.
///
/// # Errors
/// [`FormError`], one sentence.
pub fn fields(body: &[u8], boundary: &str) -> Result<Vec<(String, String)>, FormError> {
    let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
    let mut rest = body.strip_prefix(&delimiter[2..]).or_else(|| {
        // What stands before the first boundary is no part.
        find(body, &delimiter).map(|at| &body[at + delimiter.len()..])
    });
    let mut fields = Vec::new();
    loop {
        let part = rest.ok_or(FormError::Broken("a boundary is missing"))?;
        if part.starts_with(b"--") {
            return Ok(fields);
        }
        let end = find(part, &delimiter).ok_or(FormError::Broken("the last boundary is missing"))?;
        fields.push(field(&part[..end])?);
        rest = part.get(end + delimiter.len()..);
    }
}

fn field(part: &[u8]) -> Result<(String, String), FormError> {
    let head_end = find(part, b"\r\n\r\n").ok_or(FormError::Broken("a part has no header"))?;
    let head = std::str::from_utf8(&part[..head_end]).map_err(|_| FormError::Broken("a part's header is not text"))?;
    let disposition = head
        .lines()
        .find_map(|line| line.split_once(':').filter(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition")))
        .ok_or(FormError::Broken("a part has no Content-Disposition"))?
        .1;
    let parameter = |wanted: &str| {
        disposition.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches('"').to_owned())
        })
    };
    let name = parameter("name").ok_or(FormError::Broken("a part has no name"))?;
    if parameter("filename").is_some() {
        return Err(FormError::File(name));
    }
    let value = String::from_utf8(part[head_end + 4..].to_vec()).map_err(|_| FormError::Broken("a field is not UTF-8 text"))?;
    Ok((name, value))
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_read() {
        assert_eq!(boundary("multipart/form-data; charset=x; boundary=\"ab c\""), Some("ab c"));
        assert_eq!(boundary("text/plain; boundary=x"), None);
        let body = b"--B\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT\r\n1\r\n--B\r\ncontent-disposition: form-data; name=\"param_a\"\r\nContent-Type: text/plain\r\n\r\n\r\n--B--\r\n";
        let expected = [("query", "SELECT\r\n1"), ("param_a", "")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(fields(body, "B").unwrap(), expected);
    }

    #[test]
    fn what_is_no_form_is_refused() {
        assert!(matches!(fields(b"", "B"), Err(FormError::Broken(_))));
        assert!(matches!(fields(b"--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx", "B"), Err(FormError::Broken(_))));
        let file = b"--B\r\nContent-Disposition: form-data; name=\"t\"; filename=\"t.csv\"\r\n\r\nx\r\n--B--";
        assert_eq!(fields(file, "B"), Err(FormError::File("t".to_owned())));
    }

    proptest! {
        #[test]
        fn no_input_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = fields(&body, "B");
            let _ = fields(&[b"--B\r\n", body.as_slice(), b"\r\n--B--"].concat(), "B");
        }
    }
}
