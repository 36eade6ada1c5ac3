//! Counts the steps of a decision, in tests only: they hold the bound that an engine states against
//! what a decision really takes.

/// Notes that so many steps were taken.
#[inline]
pub(crate) fn take(steps: u64) {
    #[cfg(test)]
    TAKEN.with(|taken| taken.set(taken.get() + steps));
    #[cfg(not(test))]
    let _ = steps;
}

/// How many steps a decision took.
#[cfg(test)]
pub(crate) fn taken_by<T>(decide: impl FnOnce() -> T) -> u64 {
    TAKEN.with(|taken| taken.set(0));
    let _ = decide();
    TAKEN.with(std::cell::Cell::get)
}

#[cfg(test)]
thread_local! {
    static TAKEN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}
