//! The token that a client shows.

use std::path::Path;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::tokens::check_token;
use crate::reload::{Material, MaterialError, Reloaded};
use tandem_telemetry::metrics::Metric;

/// `authorization: Bearer …`, made of a file that has one token; lines that begin with `#` do not
/// count. Its `Debug` hides the token.
#[derive(Debug, Clone)]
pub struct BearerToken(MetadataValue<Ascii>);

/// Adds a token to each request, where there is one: the file's of that moment.
#[derive(Debug, Clone, Default)]
pub struct Bearer(Option<Reloaded<BearerToken>>);

impl Bearer {
    /// Reads the file; an empty path shows no token. `reloads` counts by `what` and outcome.
    ///
    /// # Errors
    /// The file cannot be read or does not have one token.
    pub async fn load(
        file: &Path,
        what: &'static str,
        reloads: Metric,
    ) -> Result<Self, MaterialError> {
        if file.as_os_str().is_empty() {
            return Ok(Self::default());
        }
        let parse = |files: &[Material<'_>]| match files {
            [file] => BearerToken::parse(file),
            _ => Err(MaterialError::Refused("a file is missing".to_owned())),
        };
        let token = Reloaded::load(what, vec![file.to_owned()], reloads, parse).await?;
        Ok(Self(Some(token)))
    }

    /// What to watch, where there is a token.
    pub fn reloaded(&self) -> Option<&Reloaded<BearerToken>> {
        self.0.as_ref()
    }
}

impl BearerToken {
    fn parse(file: &Material<'_>) -> Result<Self, MaterialError> {
        let text = std::str::from_utf8(file.bytes).map_err(|_| file.refused("is not UTF-8"))?;
        let lines = text.lines().map(str::trim);
        let mut tokens = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(token), None) = (tokens.next(), tokens.next()) else {
            return Err(file.refused("must have one line, the token"));
        };
        check_token(token).map_err(|why| file.refused(why))?;
        let value = format!("Bearer {token}").parse();
        let mut value: MetadataValue<Ascii> =
            value.map_err(|_| file.refused("the token does not fit into a header"))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let value = token.current().0.clone();
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BearerToken, String> {
        let file = Material {
            path: Path::new("token"),
            bytes: text.as_bytes(),
        };
        BearerToken::parse(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_has_one_token() {
        let token = parse("# for cloud-1\n0123456789abcdef\n").unwrap();
        assert_eq!(token.0.to_str().unwrap(), "Bearer 0123456789abcdef");
        assert!(!format!("{token:?}").contains("0123"));
        for (text, why) in [
            ("", "must have one line"),
            ("0123456789abcdef\n0123456789abcdee", "must have one line"),
            ("edge: 0123456789abcdef", "without spaces"),
            ("short", "has 5 bytes"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
