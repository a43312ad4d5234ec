//! Why a handshake failed, in the words of whoever has to mend it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// The same error, saying what is wrong and with whose certificate. What is no TLS error stays.
pub(super) fn explain(error: io::Error) -> io::Error {
    let said = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
        .and_then(reason);
    match said {
        Some(said) => io::Error::new(error.kind(), said),
        None if error.kind() == io::ErrorKind::UnexpectedEof => io::Error::new(
            error.kind(),
            "the server ended the connection in the TLS handshake",
        ),
        None => error,
    }
}

fn reason(error: &Error) -> Option<String> {
    let said = match error {
        Error::InvalidCertificate(wrong) => return Some(server_certificate(wrong)),
        Error::AlertReceived(alert) => return client_certificate(*alert),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            "the server does not speak TLS at this port: write http:// for one without"
        }
        Error::NoCertificatesPresented => "the server shows no certificate",
        _ => return None,
    };
    Some(said.to_owned())
}

fn server_certificate(wrong: &CertificateError) -> String {
    match wrong {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: compare the clocks".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the server's certificate is not signed by an authority that is trusted here".to_owned()
        }
        CertificateError::NotValidForName => {
            "the server's certificate is for another name".to_owned()
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "the server's certificate is for {}, not for {}",
            presented.join(", "),
            expected.to_str()
        ),
        CertificateError::Revoked => "the server's certificate is revoked".to_owned(),
        other => format!("the server's certificate is refused: {other}"),
    }
}

/// What the server says of the client, by <https://www.rfc-editor.org/rfc/rfc8446#section-6.2>.
fn client_certificate(alert: AlertDescription) -> Option<String> {
    let said = match alert {
        AlertDescription::CertificateRequired => {
            "the server asks for a client certificate, and none is configured here"
        }
        AlertDescription::CertificateExpired => "the server says that our certificate has expired",
        AlertDescription::CertificateRevoked => "the server says that our certificate is revoked",
        AlertDescription::UnknownCA => "the server does not trust the authority of our certificate",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => "the server refuses our certificate",
        AlertDescription::ProtocolVersion => "the server does not speak TLS 1.3",
        AlertDescription::NoApplicationProtocol => "the server does not speak HTTP/2",
        _ => return None,
    };
    Some(said.to_owned())
}
