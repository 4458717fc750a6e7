//! An error as the one line that a person reads.

/// What went wrong, and each cause that is not said by then.
pub(crate) fn line(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::line;

    #[test]
    fn no_cause_is_said_twice_and_none_is_left_out() {
        let cause = || anyhow!("no such file");
        let said = cause().context("a.toml: cannot be read (no such file)");
        assert_eq!(line(&said), "a.toml: cannot be read (no such file)");
        let said: anyhow::Error = Err::<(), _>(cause())
            .context("cannot be read")
            .context("a.toml")
            .unwrap_err();
        assert_eq!(line(&said), "a.toml: cannot be read: no such file");
    }
}
