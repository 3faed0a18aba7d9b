//! Docker's flag values of several fields: one record of comma-separated values as Go's
//! `encoding/csv` reads it, each field `KEY=VALUE`.
//!
//! A field that begins with a quote ends with one; in it two quotes stand for one. A quote inside
//! an unquoted field is an error, as in Go.

/// Splits a record into fields.
pub(crate) fn fields(record: &str) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let mut rest = record;
    if rest.is_empty() {
        return Err("it is empty".into());
    }
    loop {
        if let Some(mut quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            loop {
                let Some(end) = quoted.find('"') else { return Err("a quote is not closed".into()) };
                field.push_str(&quoted[..end]);
                quoted = &quoted[end + 1..];
                match quoted.strip_prefix('"') {
                    Some(after) => {
                        field.push('"');
                        quoted = after;
                    }
                    None => break,
                }
            }
            out.push(field);
            match quoted.strip_prefix(',') {
                Some(after) => rest = after,
                None if quoted.is_empty() => return Ok(out),
                None => return Err(format!("after a closing quote a comma is expected, not {quoted:?}")),
            }
        } else {
            let (field, after) = match rest.split_once(',') {
                Some((field, after)) => (field, Some(after)),
                None => (rest, None),
            };
            if field.contains('"') {
                return Err(format!("a quote stands inside the field {field:?}; quote the whole field: \"{}\"", {
                    field.replace('"', "\"\"")
                }));
            }
            out.push(field.to_owned());
            match after {
                Some(after) => rest = after,
                None => return Ok(out),
            }
        }
    }
}

/// Splits a record into pairs; keys in lower case. A field without `=` is an error that names it.
pub(crate) fn pairs(record: &str) -> Result<Vec<(String, String)>, String> {
    fields(record)?
        .into_iter()
        .map(|field| match field.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.trim().to_lowercase(), value.to_owned())),
            _ => Err(format!("the field {field:?} is no KEY=VALUE pair")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_split_as_in_go() {
        let table: &[(&str, Result<&[&str], &str>)] = &[
            ("type=local,dest=out", Ok(&["type=local", "dest=out"])),
            ("type=image,\"name=a,b\",push=true", Ok(&["type=image", "name=a,b", "push=true"])),
            ("\"a\"\"b\"", Ok(&["a\"b"])),
            ("a,,b,", Ok(&["a", "", "b", ""])),
            ("\"a", Err("a quote is not closed")),
            ("\"a\"b", Err("after a closing quote a comma is expected, not \"b\"")),
            ("", Err("it is empty")),
        ];
        for (text, expected) in table {
            let got = fields(text);
            match expected {
                Ok(list) => assert_eq!(got.unwrap(), *list, "{text}"),
                Err(why) => assert_eq!(got.unwrap_err(), *why, "{text}"),
            }
        }
        assert!(fields("a=\"b\"").unwrap_err().contains("quote the whole field"));
        assert_eq!(pairs("Type=x,a=b=c").unwrap(), [("type".into(), "x".into()), ("a".into(), "b=c".into())]);
        assert_eq!(pairs("type=x,y").unwrap_err(), "the field \"y\" is no KEY=VALUE pair");
    }
}
