//! The clouds that an edge works with.
//!
//! The [`Dialer`] makes a link to each place where the configured [names](names) lead. A new session goes to one that
//! answers and fits, of two chosen at random to the one that is [less busy](load). One that fails is forgotten, and left
//! alone for a growing while: [`Clouds::tend`] asks it again, and a session too that finds no other.

mod dialer;
mod load;
mod names;
mod tend;

pub use dialer::{DialError, Dialer, DialerConfig, ReachError, all_have_tls};
pub(crate) use load::Load;
pub(crate) use names::Place;
pub use tend::Standing;

use crate::codec_choice::CodecChoice;
use crate::error::CloudError;
use crate::link::{Cloud, Link};
use load::Candidate;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tandem_proto::v1;
use tokio::task::JoinSet;

/// How long what names lead to is believed.
const LOOK_UP_EVERY: Duration = Duration::from_secs(10);
/// The same while no cloud answers.
const LOOK_UP_SOON: Duration = Duration::from_secs(1);
/// How long it may take to find out.
const LOOK_UP_TAKES: Duration = Duration::from_secs(2);

/// The clouds of an edge; clones are the same ones.
#[derive(Debug, Clone)]
pub struct Clouds(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dialer: Dialer,
    choice: CodecChoice,
    /// The model of the edge, and how many of its layers run there.
    own: (v1::ModelDescription, usize),
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    links: Vec<Link>,
    looked_up: Option<Instant>,
}

/// What a session needs of its cloud.
pub(crate) struct Wish<'a> {
    /// So many positions, where one grants them.
    pub(crate) positions: usize,
    /// The numerics that it has, where there is one.
    pub(crate) like: Option<&'a Numerics>,
    /// None but those.
    pub(crate) only_like: bool,
    /// None of these links.
    pub(crate) but_for: &'a [u64],
    /// How many tokens of the prompt a cloud has.
    pub(crate) holds: &'a (dyn Fn(&Cloud) -> usize + Sync),
}

/// How a cloud computes: two that compute alike give the same bits for the same rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Numerics {
    id: Vec<u8>,
    /// The types of its weights, and of its keys and values.
    pub(crate) held: String,
}

impl Numerics {
    pub(crate) fn of(cloud: &v1::DescribeBackResponse) -> Self {
        let held = cloud.held.as_ref();
        Self {
            id: cloud.numerics.clone(),
            held: held.map_or(String::new(), |held| {
                format!("{}, {}", held.weights, held.kv)
            }),
        }
    }

    /// Whether rows are known to come to the same in both.
    pub(crate) fn are_like(&self, other: &Self) -> bool {
        !self.id.is_empty() && self.id == other.id
    }

    fn may_be_like(&self, other: &Self) -> bool {
        if self.id.is_empty() || other.id.is_empty() {
            self.held == other.held
        } else {
            self.id == other.id
        }
    }
}

impl Clouds {
    /// Those of a dialer, for an edge that has `own` model and runs the layers below `split`. Each link begins with this
    /// choice of codecs.
    ///
    /// # Errors
    /// An address cannot be dialled.
    pub(crate) fn new(
        dialer: Dialer,
        choice: CodecChoice,
        own: (v1::ModelDescription, usize),
    ) -> Result<Self, DialError> {
        let links = dialer.links(&choice)?;
        Ok(Self(Arc::new(Shared {
            dialer,
            choice,
            own,
            state: Mutex::new(State {
                links,
                looked_up: None,
            }),
        })))
    }

    /// Links to all of them.
    pub fn links(&self) -> Vec<Link> {
        self.lock().links.clone()
    }

    /// The codecs that rows may be written in.
    pub(crate) fn codecs(&self) -> &CodecChoice {
        &self.0.choice
    }

    /// Those that have described themselves, without asking.
    pub fn known(&self) -> Vec<Cloud> {
        self.links().iter().filter_map(Link::known).collect()
    }

    /// One that answers, whether or not it fits, asked where none is known to.
    ///
    /// # Errors
    /// None answers in time.
    pub async fn any(&self) -> Result<Cloud, CloudError> {
        match self.known().into_iter().next() {
            Some(cloud) => Ok(cloud),
            None => first_to_answer(self.links(), |_| true).await,
        }
    }

    /// Their addresses, for people.
    pub fn addresses(&self) -> String {
        let links = self.links();
        let addresses: Vec<&str> = links.iter().map(Link::address).collect();
        addresses.join(", ")
    }

    /// One for a session, asked where none is known.
    ///
    /// # Errors
    /// None answers in time.
    pub(crate) async fn choose(&self, wish: &Wish<'_>) -> Result<Cloud, CloudError> {
        if let Some(cloud) = self.ready(wish) {
            return Ok(cloud);
        }
        let failed = match self.ask(wish).await {
            Ok(cloud) => return Ok(cloud),
            Err(error) => error,
        };
        // What does not fit says so itself.
        let known = self.known();
        match (known.first(), wish.like) {
            (Some(cloud), Some(like)) if wish.only_like => Err(CloudError::HeldOtherwise {
                found: Numerics::of(&cloud.described).held,
                began: like.held.clone(),
            }),
            (Some(cloud), _) => Ok(cloud.clone()),
            (None, _) => Err(failed),
        }
    }

    /// The first to answer of those that are not known to, where it will do.
    ///
    /// # Errors
    /// None answers in time.
    pub(crate) async fn ask(&self, wish: &Wish<'_>) -> Result<Cloud, CloudError> {
        if self.is_lookup_due(LOOK_UP_SOON) {
            self.look_up().await;
        }
        let unknown = self.links().into_iter();
        let unknown = unknown.filter(|link| link.known().is_none()).collect();
        let will_do = |cloud: &Cloud| self.fits(cloud) && wish.allows(cloud);
        first_to_answer(unknown, will_do).await
    }

    /// The best of those that are known to answer and to fit.
    pub(crate) fn ready(&self, wish: &Wish<'_>) -> Option<Cloud> {
        let known = self.known();
        let fits = |cloud: &&Cloud| {
            !wish.but_for.contains(&cloud.link.number()) && self.fits(cloud) && wish.allows(cloud)
        };
        let mut fitting: Vec<&Cloud> = known.iter().filter(fits).collect();
        keep_if_any(&mut fitting, |cloud| {
            cloud.described.max_context as usize >= wish.positions
        });
        keep_if_any(&mut fitting, |cloud| {
            let numerics = Numerics::of(&cloud.described);
            wish.like.is_none_or(|like| like.may_be_like(&numerics))
        });
        let candidates = fitting.iter().map(|cloud| Candidate {
            load: cloud.link.load(),
            held: (wish.holds)(cloud),
        });
        let candidates: Vec<Candidate> = candidates.collect();
        let chosen = load::choose(&candidates, &mut rand::rng())?;
        Some(fitting[chosen].clone())
    }

    fn fits(&self, cloud: &Cloud) -> bool {
        let (own, split) = &self.0.own;
        crate::fit::check(own, *split, &cloud.described).is_ok()
    }

    fn is_lookup_due(&self, every: Duration) -> bool {
        let looked_up = self.lock().looked_up;
        self.0.dialer.looks_up() && looked_up.is_none_or(|at| at.elapsed() >= every)
    }

    /// Finds out where the names lead now. Links to where none leads any more are forgotten; sessions that have one keep
    /// it.
    async fn look_up(&self) {
        self.lock().looked_up = Some(Instant::now());
        let mut places = Vec::new();
        for (number, server) in self.0.dialer.servers().iter().enumerate() {
            let found = tokio::time::timeout(LOOK_UP_TAKES, names::places(number, server));
            match found.await.unwrap_or_else(|late| Err(late.into())) {
                Ok(found) => places.extend(found),
                // Where it has led is all that is known.
                Err(error) => {
                    tracing::debug!(cloud = %server, %error, "the name cannot be looked up");
                    let known = self.links().into_iter().map(|link| link.place());
                    places.extend(known.filter(|place| place.server == number));
                }
            }
        }
        let mut state = self.lock();
        let before = std::mem::take(&mut state.links);
        for place in places {
            let kept = before.iter().find(|link| link.place() == place).cloned();
            let dialled = || self.0.dialer.dial(place, &self.0.choice);
            match kept.map_or_else(dialled, Ok) {
                Ok(link) => state.links.push(link),
                Err(error) => tracing::warn!(%error, "a cloud has no address to connect to"),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wish<'_> {
    fn allows(&self, cloud: &Cloud) -> bool {
        let like = self.like.filter(|_| self.only_like);
        like.is_none_or(|like| like.are_like(&Numerics::of(&cloud.described)))
    }
}

/// Keeps those for which something is true, where there are any.
fn keep_if_any<T: Copy>(all: &mut Vec<T>, is: impl Fn(T) -> bool) {
    if all.iter().any(|one| is(*one)) {
        all.retain(|one| is(*one));
    }
}

/// The first cloud that answers and will do, of all that are asked at once.
///
/// # Errors
/// Why the last one does not answer.
pub(crate) async fn first_to_answer(
    links: Vec<Link>,
    will_do: impl Fn(&Cloud) -> bool,
) -> Result<Cloud, CloudError> {
    let mut asked = JoinSet::new();
    for link in links {
        asked.spawn(async move { link.describe().await });
    }
    let mut failed = CloudError::Gone;
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(cloud)) if will_do(&cloud) => return Ok(cloud),
            Ok(Err(error)) => failed = error,
            Ok(Ok(_)) | Err(_) => {}
        }
    }
    Err(failed)
}
