//! Authenticator codes beside totp-rs.

use std::hint::black_box;

use otp_auth::code::{CodeInput, CodeLength};
use otp_auth::hotp::{HotpKey, OtpHash};
use otp_auth::secret::Secret;
use otp_auth::timestamp::Timestamp;
use otp_auth::totp::{Drift, Step, Totp};

use crate::measure::{Contender, Table};

const SECRET: &[u8; 20] = b"12345678901234567890";
const NOW: u64 = 1_790_000_000;

pub fn run(table: &mut Table) {
    let ours = Totp::from_secret(Secret::new(SECRET.to_vec())).expect("20 bytes");
    let key = HotpKey::new(&Secret::new(SECRET.to_vec()), OtpHash::Sha1).expect("20 bytes");
    let theirs = totp_rs::Builder::new()
        .with_secret(SECRET.to_vec())
        .with_skew(1)
        .build()
        .expect("the defaults are good");
    let now = Timestamp::from_unix_secs(NOW);
    table.measure(
        "one code",
        vec![
            Contender::new("ours", || key.value(black_box(NOW / 30), CodeLength::Six) < 1_000_000)
                .bar(105.0),
            Contender::new("totp-rs", || theirs.generate(black_box(NOW)).to_string().len() == 6),
        ],
    );

    let shown = |step: u64| format!("{:06}", ours.value(Step::new(step)));
    let step = NOW / 30;
    let cases = [
        ("previous step", shown(step - 1), true),
        ("this step", shown(step), true),
        ("next step", shown(step + 1), true),
        ("wrong code", "000000".to_owned(), false),
    ];
    for (what, code, expected) in &cases {
        let input = CodeInput::parse(code, CodeLength::Six).expect("six digits");
        table.measure(
            &format!("check of three steps, {what}"),
            vec![
                Contender::new("ours, all three always", || {
                    let found = ours.find_step(black_box(&input), now, Drift::default());
                    found.is_some() == *expected
                })
                .bar(320.0),
                Contender::new("totp-rs", || {
                    theirs.check(black_box(code), NOW).is_some() == *expected
                }),
            ],
        );
    }
}
