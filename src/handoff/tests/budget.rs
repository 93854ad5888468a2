use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::{
    super::budget::{Budget, Exhausted},
    AGES,
};

#[test]
fn what_is_taken_is_gone_until_it_is_given_back() {
    let budget = Budget::new(100);
    assert!(budget.try_take(60));
    assert!(!budget.try_take(41));
    assert_eq!(budget.try_take_some(10, 64), Some(40));
    assert_eq!(budget.free(), 0);
    budget.release(100);
    assert_eq!(budget.take(100, None), Ok(()));
}

#[test]
fn a_wait_ends_with_its_deadline_and_leaves_nothing_behind() {
    let budget = Budget::new(100);
    assert!(budget.try_take(100));
    assert_eq!(budget.take(1, Some(Instant::now())), Err(Exhausted::TimedOut));
    assert_eq!(budget.waiting(), 0);
    budget.release(100);
    assert_eq!(budget.free(), 100);
}

#[test]
fn who_comes_later_waits_behind() {
    let budget = Budget::new(100);
    assert!(budget.try_take(90));
    let first = budget.queue_up(50, 50);
    // There are ten left, but somebody waits.
    assert!(!budget.try_take(1));
    let second = budget.queue_up(10, 10);
    assert_eq!(budget.waiting(), 2);
    budget.give_when_idle();
    assert_eq!(budget.waiting(), 2, "the second must not pass the first");
    budget.release(90);
    assert_eq!(first.wait(None), Ok(50));
    assert_eq!(second.wait(None), Ok(10));
    assert_eq!(budget.free(), 40);
}

#[test]
fn the_head_is_woken_when_an_eighth_is_free_or_nothing_more_may_come() {
    let budget = Budget::new(800);
    assert!(budget.try_take(800));
    let ticket = budget.queue_up(10, 60);
    budget.release(99);
    assert_eq!(budget.waiting(), 1, "99 are less than an eighth");
    budget.release(1);
    assert_eq!(budget.waiting(), 0);
    assert_eq!(ticket.wait(None), Ok(60));

    budget.release(10);
    assert_eq!(budget.try_take_some(1, 1000), Some(50));
    let ticket = budget.queue_up(10, 60);
    budget.release(20);
    assert_eq!(budget.waiting(), 1);
    budget.give_when_idle();
    assert_eq!(ticket.wait(None), Ok(20), "no more than there is");
}

#[test]
fn a_waiter_that_gives_up_gives_back_and_lets_the_next_one_pass() {
    let budget = Budget::new(100);
    assert!(budget.try_take(95));
    let greedy = budget.queue_up(50, 50);
    let modest = budget.queue_up(5, 5);
    drop(greedy);
    assert_eq!(modest.wait(None), Ok(5));
    // Served, but nobody comes for it any more.
    let served = budget.queue_up(10, 10);
    budget.release(100);
    drop(served);
    assert_eq!(budget.free(), 100);
}

#[test]
fn the_end_ends_every_wait() {
    let budget = Arc::new(Budget::new(100));
    assert!(budget.try_take(100));
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let budget = Arc::clone(&budget);
            thread::spawn(move || budget.take(10, None))
        })
        .collect();
    while budget.waiting() < 3 {
        thread::yield_now();
    }
    budget.end();
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), Err(Exhausted::Ended));
    }
    assert_eq!(budget.take(10, None), Err(Exhausted::Ended));
    budget.release(100);
    assert_eq!(budget.free(), 100);
}

#[test]
fn waiters_are_served_in_their_order() {
    let budget = Arc::new(Budget::new(8));
    assert!(budget.try_take(8));
    let (served, order) = mpsc::channel();
    let mut threads = Vec::new();
    for number in 0..6 {
        let (budget2, served) = (Arc::clone(&budget), served.clone());
        threads.push(thread::spawn(move || {
            budget2.take(5, Some(Instant::now() + AGES)).unwrap();
            served.send(number).unwrap();
        }));
        while budget.waiting() <= number {
            thread::yield_now();
        }
    }
    for number in 0..6 {
        // Five of eight at a time: only one of them fits.
        budget.release(if number == 0 { 8 } else { 5 });
        assert_eq!(order.recv_timeout(AGES), Ok(number));
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn nothing_is_lost_and_nothing_is_made_between_threads() {
    let budget = Arc::new(Budget::new(64));
    let threads: Vec<_> = (1..=4)
        .map(|n| {
            let budget = Arc::clone(&budget);
            thread::spawn(move || {
                for round in 0..500 {
                    let amount = 1 + (round * n) % 40;
                    // Some give up at once.
                    let patience = if round % 3 == 0 { Duration::ZERO } else { AGES };
                    if budget.take(amount, Some(Instant::now() + patience)).is_ok() {
                        thread::yield_now();
                        budget.release(amount);
                    }
                    // In the place of the sender thread: what is too little to be handed out at once.
                    budget.give_when_idle();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!((budget.free(), budget.waiting()), (64, 0));
}
