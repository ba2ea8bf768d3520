//! Estimates come true, whoever tries to spoil them.

use super::*;

fn tell(sizes: &LearnedSizes, tool: &str, arguments: u64, agent: &str, tokens: &[u64]) {
    let cell = SizeCell::new(tool, arguments, agent);
    tokens.iter().for_each(|tokens| sizes.observe(&cell, *tokens));
}

/// Within 3 %, which is what a size is told to.
#[track_caller]
fn about(got: u64, expect: u64) {
    assert!(got.abs_diff(expect) * 100 <= expect * 3, "{got}, not about {expect}");
}

#[test]
fn bands_are_narrow_ordered_and_bounded() {
    let mut last = 0;
    for tokens in 0..100_000 {
        let band = band(tokens);
        assert!(band >= last, "{tokens}");
        last = band;
    }
    assert_eq!((band(0), band(3), band(4), band(5), band(8), band(9), band(10)), (0, 3, 8, 9, 12, 12, 13));
    assert_eq!((band(u64::MAX), band(1 << 40)), (LAST_BAND, LAST_BAND));
}

#[test]
fn sizes_are_told_to_two_percent_and_the_oldest_go() {
    for tokens in [0, 1, 2, 3, 10, 99, 100, 813, 12_345, 1 << 20, 900_000_000] {
        about(tokens_of(RecentSizes::default().with(tokens).median().unwrap()), tokens);
    }
    let mut recent = RecentSizes::default();
    assert_eq!((recent.median(), recent.len()), (None, 0));
    for (n, tokens) in [(1, 10), (2, 10), (3, 10), (4, 700), (5, 700), (6, 700), (7, 700), (7, 700)] {
        recent = recent.with(tokens);
        assert_eq!(recent.len(), n);
        assert_eq!(RecentSizes::from_stored(recent.stored()), recent);
    }
    about(tokens_of(recent.median().unwrap()), 700);
    assert!(tokens_of(RecentSizes::default().with(u64::MAX).median().unwrap()) > 1 << 29);
}

#[test]
fn configured_and_default_sizes_hold_until_something_is_learned() {
    let sizes = LearnedSizes::new();
    assert_eq!(sizes.expected("t", 10, "a", None), DEFAULT_RESULT_TOKENS);
    assert_eq!(sizes.expected("t", 10, "a", Some(80)), 80);
    tell(&sizes, "t", 10, "a", &[880]);
    about(sizes.expected("t", 10, "a", Some(80)), 880);
    assert_eq!(sizes.expected("other", 10, "a", None), DEFAULT_RESULT_TOKENS);
}

/// R35
#[test]
fn one_outlier_says_nothing_and_a_change_is_believed_after_four() {
    let sizes = LearnedSizes::new();
    tell(&sizes, "t", 10, "a", &[100; 7]);
    tell(&sizes, "t", 10, "a", &[1_000_000]);
    about(sizes.expected("t", 10, "a", None), 100);
    tell(&sizes, "t", 10, "a", &[0, 1_000_000]);
    about(sizes.expected("t", 10, "a", None), 100);
    tell(&sizes, "t", 10, "a", &[5_000; 4]);
    about(sizes.expected("t", 10, "a", None), 5_000);
}

/// R35. An agent that sends what is rare makes the calls of others neither dear nor cheap.
#[test]
fn nobody_games_the_estimates_of_others_on_a_shared_tool() {
    let sizes = LearnedSizes::new();
    for honest in ["a", "b", "c"] {
        tell(&sizes, "t", 10, honest, &[300, 310, 290]);
    }
    for forged in [0, 50_000_000] {
        tell(&sizes, "t", 10, "evil", &[forged; 500]);
        about(sizes.expected("t", 10, "a", None), 300);
        // One that has no results of its own yet has those of all.
        let newcomer = sizes.expected("t", 10, "new", None);
        assert!((280..=320).contains(&newcomer), "{newcomer}");
    }
}

#[test]
fn sizes_in_between_are_read_between_their_neighbours() {
    let sizes = LearnedSizes::new();
    tell(&sizes, "echo", 16, "a", &[32; 3]);
    tell(&sizes, "echo", 4_096, "a", &[8_192; 3]);
    about(sizes.expected("echo", 256, "a", None), 512);
    about(sizes.expected("echo", 1, "a", None), 32);
    about(sizes.expected("echo", 1 << 30, "a", None), 8_192);
}

#[test]
fn what_older_versions_learned_holds_until_there_is_more() {
    let sizes = LearnedSizes::new();
    sizes.take_in("t", 42_000);
    assert_eq!(sizes.expected("t", 10, "a", Some(7)), 42);
    assert_eq!(sizes.by_tool(), [("t".to_owned(), 42)]);
    let cell = SizeCell::new("t", 10, "a");
    sizes.take_in(cell.as_str(), RecentSizes::default().with(100).stored());
    about(sizes.expected("t", 10, "b", None), 100);
    about(sizes.by_tool()[0].1, 100);
    // A name with our own separator in it is a tool's like any.
    let odd = SizeCell::new("t\u{1f}9\u{1f}x", 10, "a");
    assert_eq!(SizeCell::parts(odd.as_str()), Some(("t\u{1f}9\u{1f}x", 13, "a")));
}

/// An upstream that renames its tools for ever fills no memory, and what is in use stays known.
#[test]
fn names_without_end_are_forgotten() {
    let sizes = LearnedSizes::new();
    for n in 0..5 * MAX_TOOLS {
        tell(&sizes, &format!("t{n}"), 10, "a", &[300]);
        if n % 1_000 == 0 {
            tell(&sizes, "used", 10, "a", &[1_000]);
        }
    }
    assert!(sizes.by_tool().len() <= 2 * MAX_TOOLS);
    about(sizes.expected("used", 10, "a", None), 1_000);
    assert_eq!(sizes.expected("t0", 10, "a", None), DEFAULT_RESULT_TOKENS);
    for n in 0..1_000 {
        tell(&sizes, "used", 10, &format!("agent-{n}"), &[1_000]);
    }
    let known = sizes.0.read();
    let most = known.get("used").unwrap().bands.iter().map(|(_, agents)| agents.len()).max();
    assert_eq!(most, Some(MAX_AGENTS));
}

#[test]
fn many_threads_lose_no_tool() {
    let sizes = LearnedSizes::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let sizes = &sizes;
            scope.spawn(move || {
                for i in 0..500 {
                    tell(sizes, &format!("tool-{}", (i + thread) % 50), 10, "a", &[300]);
                }
            });
        }
    });
    assert_eq!(sizes.by_tool().len(), 50);
    sizes.by_tool().iter().for_each(|(_, tokens)| about(*tokens, 300));
}

/// A small generator: the same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About a normal distribution.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

/// What tools of an office are like: how an agent's arguments vary, how results follow from them, and how much they scatter
/// beside (the spread of a log-normal). Receipts and status answers are alike, reads depend on what is read.
const OFFICE: [(&str, f64, f64, f64, f64); 8] = [
    // tool, usual argument tokens, their spread, result tokens for each, scatter
    ("mail__send", 180.0, 0.8, 0.0, 0.03),
    ("tickets__create", 120.0, 0.6, 0.0, 0.05),
    ("tickets__search", 14.0, 0.4, 0.0, 0.22),
    ("files__write", 600.0, 1.0, 0.0, 0.02),
    ("code__format", 900.0, 0.9, 1.0, 0.03),
    ("text__translate", 300.0, 1.0, 1.15, 0.08),
    ("files__read", 12.0, 0.3, 0.0, 0.45),
    ("jobs__status", 9.0, 0.1, 0.0, 0.04),
];

/// R35, R37. The median error of estimates over the traffic of a week of eight agents is below 15 %, outliers and one agent
/// that games included.
#[test]
fn the_median_error_of_estimates_is_below_fifteen_percent() {
    let sizes = LearnedSizes::new();
    let mut dice = Dice(0x5eed_1234_abcd_0001);
    let mut errors = Vec::new();
    for call in 0..12_000u64 {
        let agent = format!("agent-{}", call % 8);
        let pick = (dice.next() * 8.0) as usize % OFFICE.len();
        let (tool, usual, spread, each, scatter) = OFFICE[pick];
        let arguments = (usual * (spread * dice.normal()).exp()).max(1.0);
        let base = if each > 0.0 { arguments * each } else { 40.0 + usual * 3.0 };
        let mut result = base * (scatter * dice.normal()).exp();
        if dice.next() < 0.01 {
            result *= 200.0;
        }
        if agent == "agent-7" {
            result = if dice.next() < 0.5 { 1.0 } else { result * 1_000.0 };
        }
        let (arguments, result) = (arguments.round() as u64, result.round().max(1.0) as u64);
        let expected = sizes.expected(tool, arguments, &agent, None);
        if agent != "agent-7" {
            errors.push((tool, expected.abs_diff(result) as f64 / result as f64));
        }
        sizes.observe(&SizeCell::new(tool, arguments, &agent), result);
    }
    let median = |mut of: Vec<f64>| {
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    let all = median(errors.iter().map(|(_, error)| *error).collect());
    let by_tool: Vec<(&str, f64)> = OFFICE
        .iter()
        .map(|(tool, ..)| {
            (*tool, median(errors.iter().filter(|(of, _)| of == tool).map(|(_, e)| *e).collect()))
        })
        .collect();
    assert!(all < 0.15, "{all} {by_tool:?}");
    // Where results follow from the arguments, the size of these is what tells.
    assert!(
        by_tool
            .iter()
            .all(|(tool, error)| *error < 0.15 || ["files__read", "tickets__search"].contains(tool)),
        "{by_tool:?}"
    );
}

/// What a strict budget reserves holds a result that is as large as the last, whatever its size: sizes are told in steps.
#[test]
fn the_most_holds_what_was_learned() {
    for size in (0..3_000).chain([4_999, 12_345, 100_001, 1 << 20, 900_000_000]) {
        let sizes = LearnedSizes::new();
        tell(&sizes, "t", 10, "ada", &[size; 4]);
        let (expected, most) = sizes.expected_and_most("t", 10, "ada", None);
        // A step is 2 % either way, and tokens are whole.
        assert!(expected.abs_diff(size) <= 1 + size * 3 / 100, "{size}: {expected}");
        assert!(most >= size && most <= size + size / 3 + 2, "{size}: {most}");
    }
    // Nothing is learned: what is expected, and a quarter.
    assert_eq!(LearnedSizes::new().expected_and_most("t", 10, "ada", Some(400)), (400, 500));
}

#[test]
fn the_most_is_an_agents_own_largest_and_nobody_elses_outlier() {
    let sizes = LearnedSizes::new();
    tell(&sizes, "t", 10, "ada", &[100, 100, 100, 1_000]);
    tell(&sizes, "t", 10, "eve", &[300, 300, 300, 1 << 20]);
    let most = |agent: &str| sizes.expected_and_most("t", 10, agent, None).1;
    assert!((1_250..1_320).contains(&most("ada")), "{}", most("ada"));
    // Who has no results has the larger of the others' medians.
    assert!((375..410).contains(&most("new")), "{}", most("new"));
    // With one of its own, that too.
    tell(&sizes, "t", 10, "new", &[2_000]);
    assert!((2_500..2_620).contains(&most("new")), "{}", most("new"));
    // Between bands the larger of the nearest.
    let between = sizes.expected_and_most("t", 11, "ada", None).1;
    assert!(between >= 1_250, "{between}");
}
