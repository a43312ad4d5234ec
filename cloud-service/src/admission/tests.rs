//! Rooms and limits, without an engine: what it holds is a reservation.

use super::place::{GIVING_WAY_TAKES, IN_LINE};
use super::*;
use crate::config::PerPeerConfig;
use tandem_config::ByteSize;
use tandem_engine::{KvSizes, Reservation};

/// An owner by number.
fn owner(number: u8) -> Owner {
    Owner::Address([10, 0, 0, number].into())
}

/// What a test looks at, with room for so many bytes.
struct Cloud {
    admission: Admission,
    memory: KvBudget,
    next: u8,
}

impl Cloud {
    fn new(memory: u64, change: impl FnOnce(&mut SessionsConfig)) -> Self {
        let mut limits = SessionsConfig {
            max: 100,
            max_opening: 100,
            queued_rows: 1000,
            context: 0,
            kv_memory: ByteSize::mib(1),
            prefix_memory: ByteSize::mib(1),
            lease: Duration::from_secs(10).into(),
            idle_ttl: Duration::from_secs(300).into(),
            stall: Duration::from_secs(30).into(),
            open_timeout: Duration::from_secs(10).into(),
            per_peer: PerPeerConfig {
                max: 0,
                max_opening: 0,
                queued_rows: 0,
                kv_memory: ByteSize::bytes(0),
            },
        };
        change(&mut limits);
        let memory = KvBudget::new(memory);
        let sizes = KvSizes {
            layers: 1,
            page_bytes: 10,
            shared_once: true,
        };
        let prefixes = Prefixes::new(limits.prefix_memory.get(), memory.clone(), sizes);
        Self {
            admission: Admission::new(&limits, memory.clone(), prefixes),
            memory,
            next: 0,
        }
    }

    fn enter(&mut self, number: u8, can_move: bool) -> Result<Place, Status> {
        self.enter_again(number, Moves { can_move, moved: 0 })
    }

    fn enter_again(&mut self, number: u8, moves: Moves) -> Result<Place, Status> {
        self.next += 1;
        let key = SessionKey {
            owner: owner(number),
            id: [self.next; 16],
        };
        self.admission.enter(key, moves)
    }

    /// A session that answers, in so many bytes.
    async fn answering(&mut self, number: u8, bytes: u64, can_move: bool) -> Session {
        let place = self.enter(number, can_move).unwrap();
        place.answers();
        let reserved = place.reserve(bytes).await.unwrap();
        Session {
            reserved: vec![reserved],
            place,
        }
    }

    fn share(&self, number: u8) -> Share {
        self.admission.lock().shares.of(&owner(number))
    }

    fn all(&self) -> Share {
        self.admission.lock().shares.all()
    }
}

/// A session and what an engine holds for it, which is free before its place is.
struct Session {
    reserved: Vec<Reservation>,
    place: Place,
}

impl Session {
    async fn grow(&mut self, bytes: u64) -> Result<(), Status> {
        self.reserved.push(self.place.reserve(bytes).await?);
        Ok(())
    }

    /// Ends as a stream does, once it has to go.
    fn end_when_evicted(self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            self.place.evicted().await;
            drop(self.reserved);
            drop(self.place);
        })
    }
}

fn is(status: &Status, code: Code, reason: Reason) -> bool {
    status.code() == code && tandem_status::reason(status).as_deref() == Some(reason.into())
}

#[tokio::test]
async fn an_answer_that_can_move_gives_way_to_an_owner_that_holds_less() {
    let mut cloud = Cloud::new(100, |_| {});
    let first = cloud.answering(1, 40, true).await;
    let last = cloud.answering(1, 40, true).await;
    let mut other = cloud.answering(2, 20, true).await;
    let ended = last.end_when_evicted();
    other.grow(10).await.unwrap();
    ended.await.unwrap();
    assert!(!first.place.evicted.is_cancelled());
    assert_eq!(cloud.share(1).bytes, 40);
    assert_eq!((cloud.share(2).bytes, cloud.memory.used()), (30, 70));
    drop((first, other));
    assert_eq!((cloud.all(), cloud.memory.used()), (Share::default(), 0));
}

#[tokio::test]
async fn the_one_that_was_admitted_last_gives_way_itself() {
    let mut cloud = Cloud::new(100, |_| {});
    let first = cloud.answering(1, 50, true).await;
    let mut last = cloud.answering(1, 50, true).await;
    let status = last.grow(1).await.unwrap_err();
    assert!(is(&status, Code::Aborted, Reason::Evicted), "{status}");
    assert!(last.place.evicted.is_cancelled());
    assert_eq!((cloud.share(1).bytes, cloud.share(1).sessions), (50, 1));
    // Who has not begun is refused, and told when to come again.
    let new = cloud.enter(1, true).unwrap();
    let status = new.reserve(1).await.unwrap_err();
    assert!(
        is(&status, Code::ResourceExhausted, Reason::KvMemory),
        "{status}"
    );
    assert!(tandem_status::retry_after(&status).is_some());
    drop(first);
}

#[tokio::test]
async fn answers_that_cannot_move_stay() {
    let mut cloud = Cloud::new(100, |_| {});
    let whole = cloud.answering(1, 100, false).await;
    let other = cloud.enter(2, true).unwrap();
    let status = other.reserve(1).await.unwrap_err();
    assert!(
        is(&status, Code::ResourceExhausted, Reason::KvMemory),
        "{status}"
    );
    whole.place.kept();
    let ended = whole.end_when_evicted();
    let _reserved = other.reserve(60).await.unwrap();
    ended.await.unwrap();
    assert_eq!(
        (cloud.share(1), cloud.share(2).bytes),
        (Share::default(), 60)
    );
}

#[tokio::test]
async fn who_waits_for_room_may_have_to_go_meanwhile() {
    let mut cloud = Cloud::new(100, |_| {});
    let kept = cloud.answering(1, 60, true).await;
    kept.place.kept();
    let waiting = cloud.answering(2, 40, true).await;
    let place = Arc::new(waiting.place);
    let asks = Arc::clone(&place);
    // The kept session is told to go, and takes its time.
    let asked = tokio::spawn(async move { asks.reserve(30).await.map(drop) });
    kept.place.evicted().await;
    place.evicted.cancel();
    let status = asked.await.unwrap().unwrap_err();
    assert!(is(&status, Code::Aborted, Reason::Evicted), "{status}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_forever_for_one_that_does_not_go() {
    let mut cloud = Cloud::new(100, |_| {});
    let stuck = cloud.answering(1, 100, true).await;
    let other = cloud.enter(2, true).unwrap();
    let began = tokio::time::Instant::now();
    let status = other.reserve(10).await.unwrap_err();
    assert!(
        is(&status, Code::ResourceExhausted, Reason::KvMemory),
        "{status}"
    );
    assert!(began.elapsed() <= 2 * GIVING_WAY_TAKES);
    drop(stuck);
}

const MOVED: Moves = Moves {
    can_move: true,
    moved: 1,
};

#[tokio::test(start_paused = true)]
async fn answers_that_gave_way_come_before_new_ones_in_their_order() {
    let mut cloud = Cloud::new(100, |_| {});
    let running = cloud.answering(1, 100, false).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let place = cloud.enter_again(1, MOVED).unwrap();
        place.answers();
        waiting.push(tokio::spawn(async move {
            let reserved = place.reserve(60).await;
            reserved.map(|reserved| (reserved, place))
        }));
        tokio::task::yield_now().await;
    }
    drop((running.reserved, running.place));
    // There is room for one of them, and none for a new one of the same peer.
    let first = waiting.remove(0).await.unwrap().unwrap();
    let new = cloud.enter(1, true).unwrap();
    let status = new.reserve(10).await.unwrap_err();
    assert!(
        is(&status, Code::ResourceExhausted, Reason::KvMemory),
        "{status}"
    );
    drop(first);
    let second = waiting.remove(0).await.unwrap().unwrap();
    let _reserved = new.reserve(10).await.unwrap();
    assert_eq!(cloud.all().bytes, 70);
    drop(second);
}

/// Whoever says that its answers gave way keeps nobody else out.
#[tokio::test(start_paused = true)]
async fn peers_do_not_wait_in_each_others_lines() {
    let mut cloud = Cloud::new(100, |_| {});
    let running = cloud.answering(1, 90, false).await;
    let place = cloud.enter_again(2, MOVED).unwrap();
    let greedy = tokio::spawn(async move { place.reserve(60).await.map(drop) });
    tokio::task::yield_now().await;
    assert_eq!(cloud.share(2).in_line, 1);
    let other = cloud.enter(3, true).unwrap();
    let _reserved = other.reserve(5).await.unwrap();
    let again = cloud.enter_again(4, MOVED).unwrap();
    let _reserved = again.reserve(5).await.unwrap();
    assert!(greedy.await.unwrap().is_err());
    assert_eq!(cloud.share(2), Share::default());
    assert!(cloud.admission.lock().lines.is_empty());
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_line_is_told_to_come_again() {
    let mut cloud = Cloud::new(100, |_| {});
    let running = cloud.answering(1, 100, false).await;
    let place = cloud.enter_again(2, MOVED).unwrap();
    let began = tokio::time::Instant::now();
    let status = place.reserve(60).await.unwrap_err();
    assert!(
        is(&status, Code::ResourceExhausted, Reason::KvMemory),
        "{status}"
    );
    assert!(began.elapsed() >= IN_LINE && began.elapsed() < 2 * IN_LINE);
    drop((running.reserved, running.place));
    // Nobody is in line any more.
    let new = cloud.enter(2, true).unwrap();
    let _reserved = new.reserve(10).await.unwrap();
}

#[tokio::test]
async fn a_peer_has_limits_of_its_own() {
    let mut cloud = Cloud::new(10_000, |limits| {
        limits.per_peer.max = 2;
        limits.per_peer.kv_memory = ByteSize::kib(1);
    });
    let mut first = cloud.answering(1, 700, false).await;
    let second = cloud.answering(1, 300, true).await;
    let status = cloud.enter(1, true).unwrap_err();
    assert!(
        is(&status, Code::ResourceExhausted, Reason::Sessions),
        "{status}"
    );
    let other = cloud.answering(2, 1000, true).await;
    // What it has too much of is its own to give.
    let ended = second.end_when_evicted();
    first.grow(100).await.unwrap();
    ended.await.unwrap();
    assert!(!other.place.evicted.is_cancelled());
    assert_eq!((cloud.share(1).bytes, cloud.share(2).bytes), (800, 1000));
}

#[tokio::test]
async fn streams_that_only_open_are_counted() {
    let cloud = Cloud::new(100, |limits| {
        limits.max_opening = 3;
        limits.per_peer.max_opening = 2;
    });
    let (one, two) = (owner(1), owner(2));
    let streams = [one.clone(), one.clone(), two.clone()];
    let streams = streams.map(|owner| cloud.admission.opening(&owner).unwrap());
    for owner in [&one, &two] {
        let status = cloud.admission.opening(owner).unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
    }
    drop(streams);
    assert_eq!(cloud.all(), Share::default());
    let _again = cloud.admission.opening(&one).unwrap();
}

#[tokio::test]
async fn a_peer_with_many_answers_makes_room_for_one_with_few() {
    let mut cloud = Cloud::new(100, |limits| limits.max = 3);
    let first = cloud.answering(1, 1, true).await;
    let second = cloud.answering(1, 1, true).await;
    let last = cloud.answering(1, 1, true).await;
    let same = cloud.enter(1, true).unwrap_err();
    assert!(
        is(&same, Code::ResourceExhausted, Reason::Sessions),
        "{same}"
    );
    let _other = cloud.answering(2, 1, true).await;
    assert!(last.place.evicted.is_cancelled());
    // Two to one is as even as it gets.
    assert!(cloud.enter(2, true).is_err());
    drop((first, second));
}

/// The line's own kept conversations go for it.
#[tokio::test]
async fn who_is_first_in_line_has_kept_conversations_go() {
    let mut cloud = Cloud::new(100, |_| {});
    let answering = cloud.answering(1, 100, true).await;
    let place = cloud.enter_again(1, MOVED).unwrap();
    let waiting = tokio::spawn(async move { place.reserve(60).await.map(drop) });
    tokio::task::yield_now().await;
    answering.place.kept();
    answering.end_when_evicted().await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn rows_that_wait_are_limited() {
    let mut cloud = Cloud::new(100, |limits| {
        limits.queued_rows = 100;
        limits.per_peer.queued_rows = 60;
    });
    let busy = cloud.answering(1, 1, true).await;
    busy.place.waits_for(2, 60);
    let same = cloud.answering(1, 1, true).await;
    let other = cloud.answering(2, 1, true).await;
    assert!(!busy.place.may_queue() && !same.place.may_queue());
    assert!(other.place.may_queue());
    assert!(cloud.admission.opening(&owner(1)).is_err());
    let opening = cloud.admission.opening(&owner(2)).unwrap();
    other.place.waits_for(1, 50);
    assert!(!other.place.may_queue());
    assert!(cloud.admission.opening(&owner(2)).is_err());
    // Who has less than the others is not kept out by them.
    let third = cloud.admission.opening(&owner(3)).unwrap();
    drop(third);
    busy.place.waits_for(0, 0);
    assert!(same.place.may_queue());
    drop((busy, same, other, opening));
    assert_eq!(cloud.all(), Share::default());
}

#[tokio::test]
async fn what_is_truncated_is_not_held() {
    let mut cloud = Cloud::new(100, |_| {});
    let session = cloud.answering(1, 80, true).await;
    session.place.frees(50);
    assert_eq!(cloud.share(1).bytes, 30);
}

#[tokio::test]
async fn an_id_is_its_owners_own() {
    let cloud = Cloud::new(100, |_| {});
    let key = |number| SessionKey {
        owner: owner(number),
        id: [7; 16],
    };
    let _first = cloud.admission.enter(key(1), Moves::default()).unwrap();
    let status = cloud.admission.enter(key(1), Moves::default()).unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    let _other = cloud.admission.enter(key(2), Moves::default()).unwrap();
}
