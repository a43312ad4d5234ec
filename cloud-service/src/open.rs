//! The first message of a stream: who may open a session, and what it is granted.

use crate::cloud::Cloud;
use std::sync::Arc;
use tandem_codec::{Codec, Profile};
use tandem_engine::{BackOpen, KeptPage, PageKey, PageName, Room};
use tandem_model::PAGE_POSITIONS;
use tandem_proto::v1;
use tandem_shape::Reason;
use tandem_status::{bad_request, failure, precondition_failure};
use tandem_transport::auth::Peer;
use tandem_wire::PROTOCOL_VERSION;
use tonic::{Code, Status};

use crate::admission::{Moves, SessionId};

/// The features that a peer's Open may name.
pub fn served_features(peer: &Peer, cloud: &Cloud) -> Vec<v1::Feature> {
    [
        (v1::Feature::Replay, true),
        (v1::Feature::Prefixes, cloud.prefixes.are_for(peer)),
        (v1::Feature::Resume, !cloud.lease.is_zero()),
        // What comes of a draft is what would have come without.
        (v1::Feature::Drafts, cloud.numerics.is_some()),
        (v1::Feature::Constraints, cloud.constraints.are_served()),
    ]
    .into_iter()
    .filter_map(|(feature, served)| served.then_some(feature))
    .collect()
}

/// What an Open asks for, once it is known to fit.
#[derive(Debug)]
pub struct Opening {
    /// The session's id.
    pub id: SessionId,
    /// Layers the edge runs.
    pub split: usize,
    /// The codec preferred.
    pub codec: Codec,
    /// Positions granted.
    pub context: usize,
    /// The profile of calibrated frames.
    pub profile: Option<Arc<Profile>>,
    /// Whether the edge can go on elsewhere when an answer gives way, so that its memory is reserved as it grows.
    pub moves: Moves,
    /// Whether its rows may be of drafts.
    pub drafts: bool,
    /// Whether its answers may have to keep something.
    pub constraints: bool,
    /// Whether it may be taken up when its stream breaks.
    pub can_resume: bool,
    /// From where it goes on, where it is one that is there already.
    pub resume: Option<v1::Resume>,
    /// Whether its pages are to have names.
    pub names_pages: bool,
    /// The pages that it is to begin with.
    pub page_names: Vec<PageName>,
}

impl Opening {
    /// Checks an Open against what is served.
    ///
    /// # Errors
    /// As docs/protocol.md lists them under `Open`.
    pub fn check(open: &v1::Open, peer: &Peer, cloud: &Cloud) -> Result<Self, Status> {
        check_version(open)?;
        check_features(open, &served_features(peer, cloud))?;
        let names = |feature: v1::Feature| open.features.contains(&feature.into());
        let moves = Moves {
            can_move: names(v1::Feature::Replay),
            moved: open.replays,
        };
        let names_pages = names(v1::Feature::Prefixes);
        let can_resume = names(v1::Feature::Resume);
        if open.resume.is_some() && !can_resume {
            let problem = [("open.resume", "comes without FEATURE_RESUME")];
            return Err(bad_request(Reason::Resume, problem));
        }
        let codec = check_codecs(open, cloud)?;
        check_fingerprints(open, cloud)?;
        let id = <SessionId>::try_from(open.session_id.as_slice()).map_err(|_| {
            bad_request(
                Reason::SessionId,
                [("open.session_id", "must be 16 bytes".to_owned())],
            )
        })?;
        let split = check_split(open, cloud)?;
        let context = match open.context as usize {
            0 => cloud.context,
            asked => asked.min(cloud.context),
        };
        Ok(Self {
            id,
            split,
            codec,
            context,
            profile: check_profile(open, split, (peer, cloud))?,
            moves,
            drafts: names(v1::Feature::Drafts),
            constraints: names(v1::Feature::Constraints),
            can_resume,
            resume: open.resume,
            names_pages,
            page_names: check_page_names(open, context, names_pages)?,
        })
    }

    /// What the engine's session is opened with.
    pub fn back(
        &self,
        room: Room,
        pages: Vec<Arc<KeptPage>>,
        page_key: Option<PageKey>,
    ) -> BackOpen {
        BackOpen {
            split: self.split,
            context: self.context,
            profile: self.profile.clone(),
            room,
            pages,
            page_key,
        }
    }
}

fn check_version(open: &v1::Open) -> Result<(), Status> {
    let versions = open.versions.unwrap_or_default();
    if (versions.min..=versions.max).contains(&PROTOCOL_VERSION) {
        return Ok(());
    }
    Err(precondition_failure(
        Reason::Version,
        format!("{}..={}", versions.min, versions.max),
        format!(
            "the edge speaks versions {} to {} of the protocol, the cloud {PROTOCOL_VERSION}",
            versions.min, versions.max
        ),
    ))
}

fn check_features(open: &v1::Open, served: &[v1::Feature]) -> Result<(), Status> {
    let is_served = |&&feature: &&i32| served.iter().any(|&f| f as i32 == feature);
    match open.features.iter().find(|feature| !is_served(feature)) {
        None => Ok(()),
        Some(&feature) => {
            let name = match v1::Feature::try_from(feature) {
                Ok(feature) => feature.as_str_name().to_owned(),
                Err(_) => format!("feature {feature}"),
            };
            Err(failure(
                Code::Unimplemented,
                Reason::Feature,
                format!("{name} is not served here"),
            ))
        }
    }
}

/// The pages that the session is to begin with: fewer than its context has, for a row has to be run.
fn check_page_names(
    open: &v1::Open,
    context: usize,
    names_pages: bool,
) -> Result<Vec<PageName>, Status> {
    let invalid = |problem: String| bad_request(Reason::Pages, [("open.page_names", problem)]);
    let names = &open.page_names;
    if !names.is_empty() && !names_pages {
        return Err(invalid("come without FEATURE_PREFIXES".to_owned()));
    }
    if !names.is_empty() && names.len() * PAGE_POSITIONS >= context {
        let problem = format!("has {} names, for a context of {context}", names.len());
        return Err(invalid(problem));
    }
    let name = |bytes: &Vec<u8>| <[u8; 16]>::try_from(bytes.as_slice()).map(PageName);
    let names: Result<Vec<PageName>, _> = names.iter().map(name).collect();
    names.map_err(|_| invalid("has a name that is not of 16 bytes".to_owned()))
}

fn check_codecs(open: &v1::Open, cloud: &Cloud) -> Result<Codec, Status> {
    let known = |name: &String| name.parse::<Codec>().ok();
    open.codecs.iter().find_map(known).ok_or_else(|| {
        let served: Vec<&str> = cloud.codecs().collect();
        precondition_failure(
            Reason::Codec,
            open.codecs.join(", "),
            format!(
                "none of the edge's codecs ({}) is among the cloud's ({})",
                open.codecs.join(", "),
                served.join(", ")
            ),
        )
    })
}

fn check_fingerprints(open: &v1::Open, cloud: &Cloud) -> Result<(), Status> {
    let malformed = |field: &str| {
        let field = format!("open.{field}");
        bad_request(
            Reason::Fingerprint,
            [(field, "must be 32 bytes".to_owned())],
        )
    };
    let edge = tandem_wire::identity(&open.weights_fingerprint, &open.files_fingerprint);
    let edge = edge.map_err(malformed)?;
    match edge.is(&cloud.identity) {
        Some(true) => {}
        Some(false) => {
            return Err(other_model(Reason::Model, "weights", edge, cloud.identity));
        }
        None => {
            return Err(precondition_failure(
                Reason::Model,
                edge.to_string(),
                "one side has some of the model's shards only, and the other has the weights in other \
                 files: whether they are the same cannot be told",
            ));
        }
    }
    let edge = tandem_wire::fingerprint(&open.tokenizer_fingerprint);
    match edge.ok_or_else(|| malformed("tokenizer_fingerprint"))? {
        edge if edge == cloud.tokenizer => Ok(()),
        edge => Err(other_model(
            Reason::Tokenizer,
            "tokenizer",
            edge,
            cloud.tokenizer,
        )),
    }
}

fn other_model(
    reason: Reason,
    what: &str,
    edge: impl std::fmt::Display,
    ours: impl std::fmt::Display,
) -> Status {
    let (edge, ours) = (edge.to_string(), ours.to_string());
    let said = format!("the edge's {what} ({edge:.16}) are not the cloud's ({ours:.16})");
    precondition_failure(reason, edge, said)
}

/// The profile that the edge will write by: ours, or the one it brings.
fn check_profile(
    open: &v1::Open,
    split: usize,
    (peer, cloud): (&Peer, &Cloud),
) -> Result<Option<Arc<Profile>>, Status> {
    if open.profile_fingerprint.is_empty() {
        return if open.profile.is_empty() {
            Ok(None)
        } else {
            Err(bad_profile("comes without a fingerprint"))
        };
    }
    let wanted = &open.profile_fingerprint;
    if let Some(ours) = cloud.profiles.find(split, wanted) {
        return Ok(Some(Arc::clone(ours)));
    }
    let accepts = cloud.accept_profiles.from(peer);
    if open.profile.is_empty() || !accepts {
        return Err(precondition_failure(
            Reason::Profile,
            hex(wanted),
            if accepts {
                "the cloud does not have this codec profile: send it along"
            } else {
                "the cloud does not have this codec profile and accepts none of this edge"
            },
        ));
    }
    let profile = Profile::read(&open.profile).map_err(|error| bad_profile(error.to_string()))?;
    if profile.fingerprint() != wanted[..] {
        return Err(bad_profile("is not the one of profile_fingerprint"));
    }
    if profile.split() != split || profile.hidden() != Some(cloud.config.hidden) {
        return Err(bad_profile("was calibrated for another cut or model"));
    }
    Ok(Some(Arc::new(profile)))
}

fn bad_profile(problem: impl Into<String>) -> Status {
    bad_request(Reason::Profile, [("open.profile", problem.into())])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(32).map(|b| format!("{b:02x}")).collect()
}

fn check_split(open: &v1::Open, cloud: &Cloud) -> Result<usize, Status> {
    let split = open.split as usize;
    if (cloud.first_layer..=cloud.config.layers).contains(&split) {
        return Ok(split);
    }
    Err(precondition_failure(
        Reason::Split,
        split.to_string(),
        format!(
            "a split after layer {split} cannot be served: this cloud holds layers {} to {}",
            cloud.first_layer, cloud.config.layers
        ),
    ))
}
