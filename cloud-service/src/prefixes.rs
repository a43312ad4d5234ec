//! Beginnings that sessions of a peer have in common: pages of keys and values that stay when the session ends that
//! filled them.
//!
//! A page is found by its name only, by the peer whose rows it was made of, at the same split. Its memory is reserved
//! from the budget of all sessions, on top of what the session that filled it has reserved, for as long as any session
//! has it. Pages that no session has go when memory is needed for anything else, those first that were not used for
//! longest, of the peer that has most of them.

use crate::metrics::{PREFIX_BYTES, PREFIX_POSITIONS};
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tandem_engine::{KeptPage, KvBudget, KvSizes, NamedPage, PageKey, PageName};
use tandem_model::PAGE_POSITIONS;
use tandem_transport::auth::{Owner, Peer};

/// The pages of all peers.
#[derive(Debug, Clone)]
pub struct Prefixes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// What names are made with.
    secret: Secret,
    memory: KvBudget,
    sizes: KvSizes,
    /// The most bytes.
    limit: u64,
    kept: Mutex<Kept>,
}

struct Secret([u8; 32]);

#[derive(Debug, Default)]
struct Kept {
    /// Of those who have any.
    owners: HashMap<Owner, Owned>,
    bytes: u64,
    /// Sessions so far.
    sessions: u64,
}

/// A peer's pages.
#[derive(Debug, Default)]
struct Owned {
    pages: HashMap<PageId, Entry>,
    /// Which goes first: of those that were used last by the same session, the last of a beginning.
    order: BTreeSet<(Rank, PageId)>,
    bytes: u64,
}

/// A page among those of all splits.
type PageId = (usize, PageName);

/// The last session that used a page, and the page's number.
type Rank = (u64, Reverse<usize>);

#[derive(Debug)]
struct Entry {
    page: Arc<KeptPage>,
    bytes: u64,
    rank: Rank,
}

/// What a session begins with, and what it leaves to others.
#[derive(Debug)]
pub struct SessionPrefix {
    prefixes: Prefixes,
    owner: Owner,
    split: usize,
    /// Its number among all sessions.
    session: u64,
    /// The pages so far, as long as all are kept: behind one that is not, none is found.
    chain: Option<Vec<PageName>>,
}

impl Prefixes {
    /// At most `limit` bytes of pages, in memory of the budget.
    pub fn new(limit: u64, memory: KvBudget, sizes: KvSizes) -> Self {
        Self(Arc::new(Shared {
            secret: Secret(rand::random()),
            memory,
            sizes,
            limit,
            kept: Mutex::default(),
        }))
    }

    /// Whether sessions of a peer have beginnings in common: those of one that is known, where there is memory for it.
    pub fn are_for(&self, peer: &Peer) -> bool {
        self.0.limit > 0 && peer.is_known()
    }

    /// Those of a session that begins.
    pub fn of_session(&self, owner: &Owner, split: usize) -> SessionPrefix {
        let mut kept = self.lock();
        kept.sessions += 1;
        SessionPrefix {
            prefixes: self.clone(),
            owner: owner.clone(),
            split,
            session: kept.sessions,
            chain: Some(Vec::new()),
        }
    }

    /// Bytes of all pages.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Bytes of a peer's pages.
    pub fn bytes_of(&self, owner: &Owner) -> u64 {
        self.lock().bytes_of(owner)
    }

    /// Gives up a page that no session has: a page of this peer, or of the peer that has most. Returns false where there is
    /// no such page.
    pub fn give_up_one(&self, of: Option<&Owner>) -> bool {
        self.lock().give_up_one(of, 0, u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionPrefix {
    /// What its pages are named with: nobody else's names are made with it.
    pub fn key(&self) -> PageKey {
        let apart = format!("{:?} split {}", self.owner, self.split);
        PageKey::derive(&self.prefixes.0.secret.0, apart.as_bytes())
    }

    /// The pages of these names, as far as there are any.
    pub fn find(&mut self, names: &[PageName]) -> Vec<Arc<KeptPage>> {
        let mut kept = self.prefixes.lock();
        let own = kept.owners.get_mut(&self.owner);
        let found: Vec<_> = own.map_or(Vec::new(), |own| {
            let pages = names.iter().enumerate();
            let found = pages.map_while(|(number, name)| {
                let id = (self.split, *name);
                own.use_page(id, (self.session, Reverse(number)))
            });
            found.collect()
        });
        let count = |result, pages: usize| {
            let positions = (pages * PAGE_POSITIONS) as u64;
            PREFIX_POSITIONS.counter(&[result]).increment(positions);
        };
        count("found", found.len());
        count("missed", names.len() - found.len());
        self.chain = Some(names[..found.len()].to_vec());
        found
    }

    /// Keeps pages that the session has filled, one behind the other, as far as there is memory for them. Returns
    /// how many of them are kept.
    pub fn keep(&mut self, pages: &[NamedPage]) -> usize {
        let mut kept = 0;
        for page in pages {
            let Some(mut chain) = self.chain.take() else {
                break;
            };
            chain.truncate(page.number);
            let is_next = chain.len() == page.number;
            if !is_next || !self.keep_one(page, chain.last()) {
                break;
            }
            chain.push(page.name);
            self.chain = Some(chain);
            kept += 1;
        }
        kept
    }

    /// Keeps a page behind another one, which must be there still.
    fn keep_one(&self, page: &NamedPage, before: Option<&PageName>) -> bool {
        let Shared {
            memory,
            sizes,
            limit,
            ..
        } = &*self.prefixes.0;
        let id = (self.split, page.name);
        let rank = (self.session, Reverse(page.number));
        let bytes = sizes.bytes(self.split, PAGE_POSITIONS);
        // A session without layers here has nothing that is worth a name.
        if bytes == 0 {
            return false;
        }
        let mut kept = self.prefixes.lock();
        let own = kept.owners.get_mut(&self.owner);
        let is_there = own.as_ref().is_some_and(|own| {
            before.is_none_or(|before| own.pages.contains_key(&(self.split, *before)))
        });
        if before.is_some() && !is_there {
            return false;
        }
        if own.is_some_and(|own| own.use_page(id, rank).is_some()) {
            return true;
        }
        // Older ones make room, but neither those of its own beginning nor those of peers that have less.
        let reserved = loop {
            if kept.bytes + bytes <= *limit
                && let Ok(reserved) = memory.reserve(bytes)
            {
                break reserved;
            }
            let own = kept.bytes_of(&self.owner);
            if !kept.give_up_one(None, own, self.session) {
                return false;
            }
        };
        let page = Arc::new(KeptPage::new(page.clone(), reserved));
        let own = kept.owners.entry(self.owner.clone()).or_default();
        own.order.insert((rank, id));
        own.pages.insert(id, Entry { page, bytes, rank });
        own.bytes += bytes;
        kept.bytes += bytes;
        kept.publish();
        true
    }
}

impl Kept {
    fn bytes_of(&self, owner: &Owner) -> u64 {
        self.owners.get(owner).map_or(0, |own| own.bytes)
    }

    /// Gives up a page that no session has and that was last used by a session before `session`, of an owner that has at
    /// least so many bytes.
    fn give_up_one(&mut self, of: Option<&Owner>, least: u64, session: u64) -> bool {
        let mut owners: Vec<(u64, &Owner)> = self
            .owners
            .iter()
            .filter(|(owner, own)| of.is_none_or(|of| *owner == of) && own.bytes >= least)
            .map(|(owner, own)| (own.bytes, owner))
            .collect();
        owners.sort_by_key(|(bytes, _)| Reverse(*bytes));
        let found = owners.iter().find_map(|(_, owner)| {
            let id = self.owners[*owner].first_to_go(session)?;
            Some(((*owner).clone(), id))
        });
        let Some((owner, id)) = found else {
            return false;
        };
        if let Some(own) = self.owners.get_mut(&owner) {
            self.bytes -= own.remove(id);
            if own.pages.is_empty() {
                self.owners.remove(&owner);
            }
        }
        self.publish();
        true
    }

    fn publish(&self) {
        PREFIX_BYTES.gauge(&[]).set(self.bytes as f64);
    }
}

impl Owned {
    /// A page that is there, which has this rank from now on, where it is a later one.
    fn use_page(&mut self, id: PageId, rank: Rank) -> Option<Arc<KeptPage>> {
        let entry = self.pages.get_mut(&id)?;
        if rank > entry.rank {
            self.order.remove(&(entry.rank, id));
            self.order.insert((rank, id));
            entry.rank = rank;
        }
        Some(Arc::clone(&entry.page))
    }

    /// The first that no session has, used before a session.
    fn first_to_go(&self, session: u64) -> Option<PageId> {
        let unused = |id: &PageId| Arc::strong_count(&self.pages[id].page) == 1;
        let before = self
            .order
            .iter()
            .take_while(|((used, _), _)| *used < session);
        before.map(|(_, id)| *id).find(unused)
    }

    /// Forgets a page, and returns its bytes.
    fn remove(&mut self, id: PageId) -> u64 {
        let Some(entry) = self.pages.remove(&id) else {
            return 0;
        };
        self.order.remove(&(entry.rank, id));
        self.bytes -= entry.bytes;
        entry.bytes
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use std::path::Path;
    use tandem_engine::{
        Back, BackOpen, BackStep, Compute, Half as _, ModelFiles, RowsInput, RowsStep, Want,
    };

    /// Pages of 32 rows each, named for a session.
    fn pages(
        back: &mut Back,
        session: &SessionPrefix,
        first_token: u32,
        count: usize,
    ) -> Vec<NamedPage> {
        let open = BackOpen {
            split: 0,
            context: 256,
            page_key: Some(session.key()),
            ..BackOpen::default()
        };
        let mut run = back.session(open).unwrap();
        let rows = count * PAGE_POSITIONS;
        let step = BackStep::Rows(RowsStep {
            epoch: 0,
            start: 0,
            count: rows,
            skip: 0,
            input: RowsInput::Tokens((0..rows as u32).map(|at| (first_token + at) % 90).collect()),
            token_ids: Vec::new(),
            want: Want::Nothing,
            room: None,
        });
        back.step(&mut run, step).unwrap().pages
    }

    fn names(pages: &[NamedPage]) -> Vec<PageName> {
        pages.iter().map(|page| page.name).collect()
    }

    fn owner(number: u8) -> Owner {
        Owner::Address([10, 0, 0, number].into())
    }

    struct Test {
        back: Back,
        memory: KvBudget,
        prefixes: Prefixes,
        page: u64,
    }

    impl Test {
        /// Room for so many pages, and as many of them for sessions.
        fn new(limit: u64, memory: u64) -> Self {
            let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models");
            let files = ModelFiles::open(&models.join("llama-mha-untied-bias")).unwrap();
            let compute = Compute::configured(["plain", "cpu"], "f32", "f32").unwrap();
            let back = files.back(0, &compute, |_| {}).unwrap();
            let page = back.kv_sizes().bytes(0, PAGE_POSITIONS);
            let memory = KvBudget::new(memory * page);
            Self {
                prefixes: Prefixes::new(limit * page, memory.clone(), back.kv_sizes()),
                back,
                memory,
                page,
            }
        }

        fn session(&self, of: u8) -> SessionPrefix {
            self.prefixes.of_session(&owner(of), 0)
        }

        /// A session that leaves pages, and their names.
        fn leaves(&mut self, of: u8, first_token: u32, count: usize) -> Vec<PageName> {
            let mut session = self.session(of);
            let pages = pages(&mut self.back, &session, first_token, count);
            let kept = session.keep(&pages);
            names(&pages[..kept])
        }

        fn found(&self, of: u8, names: &[PageName]) -> usize {
            self.session(of).find(names).len()
        }

        fn held(&self) -> (u64, u64) {
            (
                self.prefixes.bytes() / self.page,
                self.memory.used() / self.page,
            )
        }
    }

    #[test]
    fn names_find_their_pages_for_their_owner_at_their_split_alone() {
        let mut test = Test::new(10, 10);
        let names = test.leaves(1, 0, 3);
        assert_eq!(test.found(1, &names), 3);
        assert_eq!(test.found(2, &names), 0);
        let mut other_split = test.prefixes.of_session(&owner(1), 1);
        assert!(other_split.find(&names).is_empty());
        // Up to the first that is not there, however good those behind it are.
        assert_eq!(test.found(1, &[names[0], PageName([9; 16]), names[2]]), 1);
        // The same rows have the same names for the same owner, and others for others.
        assert_eq!(test.leaves(1, 0, 3), names);
        assert_eq!(test.held(), (3, 3));
        let others = test.leaves(2, 0, 3);
        assert!(others.iter().all(|name| !names.contains(name)));
        assert_eq!(test.held(), (6, 6));
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_of_a_beginning_its_end() {
        let mut test = Test::new(5, 100);
        let (one, two) = (test.leaves(1, 0, 2), test.leaves(1, 10, 3));
        assert_eq!(test.found(1, &one), 2);
        let three = test.leaves(1, 20, 1);
        assert_eq!(test.held(), (5, 5));
        assert_eq!((test.found(1, &two), test.found(1, &one)), (2, 2));
        assert_eq!(test.found(1, &three), 1);
        // More than there is room for: as much as there is.
        assert_eq!(test.leaves(1, 30, 7).len(), 5);
        assert_eq!((test.found(1, &one), test.found(1, &two)), (0, 0));
    }

    #[test]
    fn those_who_have_most_make_room_for_others() {
        let mut test = Test::new(6, 100);
        let little = test.leaves(1, 0, 1);
        for at in 0..4 {
            test.leaves(2, 10 * at, 4);
        }
        assert_eq!(test.found(1, &little), 1);
        assert_eq!(test.leaves(1, 20, 2).len(), 2);
        assert_eq!(test.prefixes.bytes_of(&owner(1)), 3 * test.page);
        assert_eq!(test.held(), (6, 6));
        // One session that would fill it all takes no more than those who have less leave.
        assert_eq!(test.leaves(3, 30, 6).len(), 3);
        assert!((1..3).all(|of| test.prefixes.bytes_of(&owner(of)) > 0));
    }

    #[test]
    fn sessions_without_layers_here_leave_nothing() {
        let mut test = Test::new(6, 100);
        let layers = test.back.config().layers;
        let mut session = test.prefixes.of_session(&owner(1), layers);
        let pages = pages(&mut test.back, &session, 0, 2);
        assert_eq!(session.keep(&pages), 0);
    }

    #[test]
    fn nothing_is_kept_behind_what_has_gone() {
        let mut test = Test::new(10, 10);
        let mut session = test.session(1);
        let all = pages(&mut test.back, &session, 0, 4);
        assert_eq!(session.keep(&all[..2]), 2);
        while test.prefixes.give_up_one(None) {}
        assert_eq!(session.keep(&all[2..]), 0);
        // A truncation and other rows: from where its pages are kept.
        let mut session = test.session(1);
        assert_eq!(session.keep(&all), 4);
        assert_eq!(session.keep(&all[1..3]), 2);
        assert_eq!(test.held(), (4, 4));
    }

    #[test]
    fn pages_that_sessions_have_stay() {
        let mut test = Test::new(3, 4);
        let names = test.leaves(1, 0, 3);
        let begun = test.session(2).find(&names);
        assert!(begun.is_empty());
        let begun = test.session(1).find(&names[..2]);
        assert_eq!(test.leaves(1, 20, 3).len(), 1, "the third made room");
        assert!(!test.prefixes.give_up_one(Some(&owner(2))));
        assert!(test.prefixes.give_up_one(Some(&owner(1))));
        assert!(!test.prefixes.give_up_one(None));
        assert_eq!(test.held(), (2, 2));
        drop(begun);
        assert!(test.prefixes.give_up_one(None));
        assert!(test.prefixes.give_up_one(None));
        assert_eq!(test.held(), (0, 0));
        assert_eq!(test.prefixes.bytes_of(&owner(1)), 0);
    }

    #[test]
    fn sessions_have_their_memory_first() {
        let mut test = Test::new(10, 4);
        let taken = test.memory.reserve(2 * test.page).unwrap();
        let mut session = test.session(1);
        let all = pages(&mut test.back, &session, 0, 3);
        assert_eq!(session.keep(&all), 2);
        // Nothing is found behind a gap, so nothing more is kept.
        drop(taken);
        assert_eq!(session.keep(&all[2..]), 0);
        assert_eq!(test.held(), (2, 2));
    }

    #[test]
    fn prefixes_are_for_peers_that_are_known() {
        let on = Test::new(1, 1).prefixes;
        let at = |address: &str| Peer {
            address: address.parse::<IpAddr>().ok(),
            ..Peer::default()
        };
        let named = Peer {
            token: Some("phone".into()),
            ..at("10.0.0.1")
        };
        assert!(on.are_for(&named));
        assert!(on.are_for(&at("127.0.0.1")));
        assert!(!on.are_for(&at("10.0.0.1")));
        assert!(!on.are_for(&Peer::default()));
        assert!(!Test::new(0, 1).prefixes.are_for(&named));
    }
}
