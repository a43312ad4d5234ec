//! Where the hub and the cache are, from the environment variables of Hugging Face's own tools.

use crate::error::HubError;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use ureq::http::{HeaderValue, Uri};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const TOKEN_FILE: &str = "token";

/// How to reach a hub, and where what it gives is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The hub's address, `http` or `https`, possibly with a path, without a slash at its end.
    pub endpoint: String,
    /// The folder of `models--owner--name` folders.
    pub cache: PathBuf,
    /// Who is asking; sent to the endpoint's host only.
    pub token: Option<Token>,
    /// The variable that forbids requests, where one does.
    pub offline: Option<&'static str>,
    /// How long to wait for the hub's answer where the cache could do without it.
    pub lookup_timeout: Duration,
    /// How long a connection may take to be made, or to bring the next bytes.
    pub stall_timeout: Duration,
    /// How often a request may fail in a row before the fetch does.
    pub attempts: u32,
    /// The pause after a first failure; it doubles with each further one.
    pub retry_pause: Duration,
}

impl Settings {
    /// Reads `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`
    /// and what they fall back to. An empty variable counts as unset.
    ///
    /// # Errors
    /// When a variable's value cannot be used, the token's file cannot be read, or there is no home
    /// directory to keep the cache in.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_variables(&|name| std::env::var_os(name))
    }

    fn from_variables(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, HubError> {
        let variables = Variables(variable);
        let hf_home = || match variables.path("HF_HOME") {
            Some(home) => Ok(home),
            None => match variables.path("XDG_CACHE_HOME") {
                Some(cache) => Ok(cache.join("huggingface")),
                None => match variables.path("HOME") {
                    Some(home) => Ok(home.join(".cache/huggingface")),
                    None => Err(HubError::NoHome),
                },
            },
        };
        let cache = match variables
            .path("HF_HUB_CACHE")
            .or_else(|| variables.path("HUGGINGFACE_HUB_CACHE"))
        {
            Some(cache) => cache,
            None => hf_home()?.join("hub"),
        };
        let endpoint = match variables.text("HF_ENDPOINT")? {
            Some(endpoint) => checked_endpoint(&endpoint)?,
            None => DEFAULT_ENDPOINT.to_owned(),
        };
        let token = if variables.is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            None
        } else if let Some(token) = variables.text("HF_TOKEN")? {
            Token::new(&token, "HF_TOKEN")?
        } else if let Some(file) = variables.path("HF_TOKEN_PATH") {
            Token::read(file)?
        } else if let Ok(home) = hf_home() {
            Token::read(home.join(TOKEN_FILE))?
        } else {
            None
        };
        Ok(Self {
            endpoint,
            cache,
            token,
            offline: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
                .into_iter()
                .find(|name| variables.is_on(name)),
            lookup_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(30),
            attempts: 5,
            retry_pause: Duration::from_millis(500),
        })
    }
}

/// The secret that says to a hub who is asking. Never shown.
#[derive(Clone)]
pub struct Token(HeaderValue);

impl Token {
    /// Takes a token's text, `None` when it is blank. `origin` names it in an error.
    ///
    /// # Errors
    /// When it has characters that no request can carry.
    pub fn new(text: &str, origin: &str) -> Result<Option<Self>, HubError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let mut value =
            HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| HubError::Setting {
                name: origin.to_owned(),
                problem: "has characters that no token has".to_owned(),
            })?;
        value.set_sensitive(true);
        Ok(Some(Self(value)))
    }

    fn read(file: PathBuf) -> Result<Option<Self>, HubError> {
        match std::fs::read_to_string(&file) {
            Ok(text) => Self::new(&text, &file.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(HubError::Cache { path: file, source }),
        }
    }

    /// The value of the `Authorization` header.
    pub(crate) fn header(&self) -> &HeaderValue {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

struct Variables<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl Variables<'_> {
    fn raw(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> Result<Option<String>, HubError> {
        self.raw(name)
            .map(|value| {
                value.into_string().map_err(|_| HubError::Setting {
                    name: name.to_owned(),
                    problem: "is not UTF-8".to_owned(),
                })
            })
            .transpose()
    }

    /// A folder or file. `~/` is expanded: files of variables, unlike shells, leave it as it is.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.raw(name)?);
        match (path.strip_prefix("~"), self.raw("HOME")) {
            (Ok(rest), Some(home)) => Some(PathBuf::from(home).join(rest)),
            _ => Some(path),
        }
    }

    /// Whether a switch has one of the values that Hugging Face's tools take for "on".
    fn is_on(&self, name: &str) -> bool {
        self.raw(name)
            .and_then(|value| value.into_string().ok())
            .is_some_and(|v| matches!(&*v.to_ascii_uppercase(), "1" | "ON" | "YES" | "TRUE"))
    }
}

fn checked_endpoint(text: &str) -> Result<String, HubError> {
    let bad = |problem: &str| HubError::Setting {
        name: "HF_ENDPOINT".to_owned(),
        problem: format!("{problem}: {text:?}"),
    };
    let trimmed = text.trim().trim_end_matches('/');
    let uri: Uri = trimmed.parse().map_err(|_| bad("is no address"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(bad("must begin with https:// or http://"));
    }
    // A password in an address would show up in logs; that is what the token is for.
    if uri.authority().is_none_or(|a| a.as_str().contains('@')) || uri.query().is_some() {
        return Err(bad("must be a host and possibly a path"));
    }
    Ok(trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, HubError> {
        Settings::from_variables(&|name| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_cache_is_where_hugging_faces_tools_keep_it() {
        for (variables, cache) in [
            (&[("HOME", "/h")][..], "/h/.cache/huggingface/hub"),
            (
                &[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")],
                "/x/huggingface/hub",
            ),
            (
                &[("HOME", "/h"), ("HF_HOME", "/f"), ("XDG_CACHE_HOME", "/x")],
                "/f/hub",
            ),
            (
                &[("HOME", "/h"), ("HF_HOME", "~/f"), ("HF_HUB_CACHE", "")],
                "/h/f/hub",
            ),
            (&[("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/l")], "/l"),
            (
                &[("HF_HUB_CACHE", "/c"), ("HUGGINGFACE_HUB_CACHE", "/l")],
                "/c",
            ),
        ] {
            assert_eq!(settings(variables).unwrap().cache, PathBuf::from(cache));
        }
        assert!(matches!(settings(&[]), Err(HubError::NoHome)));
    }

    #[test]
    fn the_token_comes_from_its_variable_or_its_file() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().to_str().unwrap();
        std::fs::write(home.path().join("token"), "from-file\n").unwrap();
        std::fs::write(home.path().join("other"), "from-other").unwrap();
        let other = format!("{path}/other");
        let token = |more: &[(&str, &str)]| {
            let variables = [&[("HF_HOME", path)][..], more].concat();
            let token = settings(&variables).unwrap().token?;
            Some(token.header().to_str().unwrap().to_owned())
        };
        assert_eq!(token(&[]).unwrap(), "Bearer from-file");
        assert_eq!(token(&[("HF_TOKEN", " t ")]).unwrap(), "Bearer t");
        assert_eq!(
            token(&[("HF_TOKEN_PATH", &other)]).unwrap(),
            "Bearer from-other"
        );
        assert_eq!(token(&[("HF_TOKEN_PATH", "/nowhere")]), None);
        assert_eq!(token(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        let variables = [("HF_HOME", path), ("HF_TOKEN", "secret")];
        assert!(!format!("{:?}", settings(&variables).unwrap()).contains("secret"));
        assert!(settings(&[("HF_HOME", path), ("HF_TOKEN", "a\nb")]).is_err());
    }

    #[test]
    fn endpoint_and_offline_are_checked() {
        let with = |name, value| settings(&[("HOME", "/h"), (name, value)]);
        let endpoint = with("HF_ENDPOINT", "http://mirror:8080/hub/")
            .unwrap()
            .endpoint;
        assert_eq!(endpoint, "http://mirror:8080/hub");
        for bad in [
            "mirror",
            "ftp://mirror",
            "https://u:p@mirror",
            "https://m/?a",
            "https://",
        ] {
            assert!(with("HF_ENDPOINT", bad).is_err(), "{bad}");
        }
        assert_eq!(
            with("HF_HUB_OFFLINE", "1").unwrap().offline,
            Some("HF_HUB_OFFLINE")
        );
        assert_eq!(with("HF_HUB_OFFLINE", "0").unwrap().offline, None);
        let offline = with("TRANSFORMERS_OFFLINE", "true").unwrap().offline;
        assert_eq!(offline, Some("TRANSFORMERS_OFFLINE"));
    }
}
