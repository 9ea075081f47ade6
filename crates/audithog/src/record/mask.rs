//! Which names say that their value is a secret: of route parameters and of business properties.
//!
//! A name is read as words: `resetToken`, `reset_token` and `Reset-Token` are "reset token". Digits that
//! end a word tell names apart and say nothing of the value: `token2` and `token_2` are "token". `e_mail`, `eMail` and `E-Mail` are
//! "email". A name is secret if
//!
//! * it is one of the words of design: `token`, `code`, `secret`, `key`, `password`, `email`, or of
//!   the same family (`passwd`, `passphrase`, `pwd`, `otp`, `jwt`, `apikey`, `authorization`, `cookie`, `credential`);
//! * its last word is `token`, `secret`, `email` or `credential` (`reset_token`, `clientSecret`), or one of
//!   these is followed by `value`, `hash` or `address` (`email_address`), also when nothing separates the words
//!   (`accesstoken`, `emailaddress`);
//! * `password` or one of its family is anywhere in it (`password_confirmation`, `newpasswordhash`, `passWord`);
//! * it ends in `key` or `code` after a word that makes it a credential (`api_key`, `private-key`,
//!   `inviteCode`, `verification_code`), also when nothing separates the two (`secretkey`, `resetcode`).
//!
//! `status_code`, `countryCode`, `sort_key`, `token_count` and `max_tokens` are not secret: masking what is
//! harmless would teach people to turn masking off.

/// The value is a secret when the whole name is one of these.
const WHOLE: &[&str] = &[
    "token",
    "code",
    "secret",
    "key",
    "email",
    "otp",
    "jwt",
    "apikey",
    "authorization",
    "cookie",
    "credential",
];

/// The value is a secret when one of these is the last word.
const LAST: &[&str] = &["token", "secret", "email", "credential"];

/// ... also in front of one of these.
const AFTER_LAST: &[&str] = &["value", "hash", "address"];

/// The value is a secret when one of these is anywhere in a word.
const ANY: &[&str] = &["password", "passwd", "passphrase", "pwd"];

/// The words that make the `key` after them a credential.
const BEFORE_KEY: &[&str] = &[
    "api",
    "access",
    "auth",
    "encryption",
    "license",
    "licence",
    "private",
    "secret",
    "signing",
];

/// The words that make the `code` after them a credential.
const BEFORE_CODE: &[&str] = &[
    "access",
    "activation",
    "auth",
    "authorization",
    "backup",
    "confirmation",
    "device",
    "invitation",
    "invite",
    "login",
    "mfa",
    "otp",
    "pin",
    "recovery",
    "reset",
    "verification",
];

/// True if a value of this name is masked. The rule is in the module's documentation.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if has_password(&words) {
        return true;
    }
    match words.as_slice() {
        [] => false,
        [whole] => WHOLE.contains(&singular_unless_count(whole)) || is_glued(whole),
        [.., before, "key" | "keys"] => BEFORE_KEY.contains(before),
        [.., before, "code" | "codes"] => BEFORE_CODE.contains(before),
        [.., before, last] => {
            LAST.contains(&singular_unless_count(last))
                || is_glued(last)
                || AFTER_LAST.contains(last) && LAST.contains(before)
        }
    }
}

/// Whether one of [`ANY`] is anywhere, also as two words: `passWord`.
fn has_password(words: &[&str]) -> bool {
    let in_one = |word: &&str| ANY.iter().any(|secret| word.contains(secret));
    let in_two = |pair: &[&str]| match pair {
        ["pass", second] => matches!(singular(second), "word" | "wd" | "phrase"),
        _ => false,
    };
    words.iter().any(in_one) || words.windows(2).any(in_two)
}

/// `accesstoken`, `emailaddress`, `secretkey`: lower case without a separator.
fn is_glued(word: &str) -> bool {
    let ends_in_secret = |word: &str| LAST.iter().any(|secret| word.ends_with(secret));
    let mut followed = AFTER_LAST
        .iter()
        .filter_map(|after| word.strip_suffix(after));
    // Whole words only: `monkey` and `barcode` end in them, too.
    let follows = |last, words: &[&str]| {
        let before = singular(word).strip_suffix(last);
        before.is_some_and(|before| words.contains(&without_number(before)))
    };
    word.ends_with("apikey")
        || follows("key", BEFORE_KEY)
        || follows("code", BEFORE_CODE)
        || ends_in_secret(word)
        || followed.any(|word| ends_in_secret(without_number(word)))
}

fn singular(word: &str) -> &str {
    word.strip_suffix('s').unwrap_or(word)
}

/// `tokens` is how many, of a language model; `emails` is a list of them.
fn singular_unless_count(word: &str) -> &str {
    if word == "tokens" {
        word
    } else {
        singular(word)
    }
}

/// `password2` beside `password1` is a password.
fn without_number(word: &str) -> &str {
    word.trim_end_matches(char::is_numeric)
}

/// The words of a name in lower case and without their numbers: split at everything but letters and digits, and where a
/// capital follows a small letter (`apiKey`) or starts a word after capitals (`APIKey`). But what an `e` alone and `mail` begin is
/// one word.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = name.chars().peekable();
    let mut previous = None;
    while let Some(c) = chars.next() {
        if !c.is_alphanumeric() {
            take_into(&mut words, &mut word);
            previous = None;
            continue;
        }
        let after_small = previous.is_some_and(|p: char| !p.is_uppercase());
        let before_small = chars.peek().is_some_and(|next| next.is_lowercase());
        if c.is_uppercase() && (after_small || before_small) {
            take_into(&mut words, &mut word);
        }
        word.extend(c.to_lowercase());
        previous = Some(c);
    }
    take_into(&mut words, &mut word);
    words
}

fn take_into(words: &mut Vec<String>, word: &mut String) {
    word.truncate(without_number(word).len());
    match words.last_mut() {
        Some(before) if before == "e" && word.starts_with("mail") => {
            before.push_str(word);
            word.clear();
        }
        _ if word.is_empty() => {}
        _ => words.push(std::mem::take(word)),
    }
}

#[cfg(test)]
mod tests {
    use super::is_secret_name;

    #[test]
    fn secret_names_are_found_in_every_spelling() {
        for name in [
            "token",
            "code",
            "secret",
            "key",
            "password",
            "email",
            "Token",
            "PASSWORD",
            "emails",
            "reset_token",
            "resetToken",
            "Reset-Token",
            "user.email",
            "clientSecret",
            "accesstoken",
            "useremail",
            "email_address",
            "token_hash",
            "newPassword",
            "password_confirmation",
            "oldpasswd",
            "api_key",
            "apiKey",
            "APIKey",
            "apikey",
            "x-api-key",
            "private_keys",
            "inviteCode",
            "verification_code",
            "otp",
            "JWT",
            "password1",
            "password_2",
            "passwordhash",
            "newpassword2",
            "oldPasswordHash3",
            "passwords",
            "mypwd2old",
            "userpasswd_1",
            "passWord",
            "pass_phrase",
            "db-pass-wd2",
            "token2",
            "token_2",
            "TOKEN2",
            "resetToken2",
            "reset2_token",
            "accesstoken2",
            "email1",
            "emailaddress",
            "email2address",
            "userEmailaddress",
            "email_address_2",
            "tokenhash",
            "apiKey2",
            "api_key_2",
            "api2key_token",
            "apikey2",
            "key1",
            "1_key",
            "code2",
            "inviteCode2",
            "otp1",
            "credentials2",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn words_that_are_two_or_one_are_found_in_both_forms() {
        for name in [
            "e_mail",
            "eMail",
            "E-Mail",
            "EMail",
            "E_MAIL",
            "e-mails",
            "userEMail",
            "user_e_mail_2",
            "e_mail_address",
            "eMailAddress",
            "e-mailaddress",
            "secretkey",
            "privatekey",
            "accesskey",
            "signingkeys",
            "authkey2",
            "licensekey",
            "user_secretkey",
            "apikeys",
            "user_apikeys",
            "invitecode",
            "resetcode",
            "authcode",
            "InviteCodes",
            "verificationcode",
            "last_resetcode_2",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn harmless_names_are_left_alone() {
        for name in [
            "",
            "_",
            "id",
            "name",
            "status_code",
            "errorCode",
            "countryCode",
            "zipcode",
            "sort_key",
            "primaryKey",
            "keyboard",
            "monkey",
            "token_count",
            "tokens",
            "max_tokens",
            "email_verified",
            "secretary",
            "codec",
            "2",
            "123_456",
            "tokens_used",
            "tokens_used2",
            "tokens2",
            "max_tokens_2",
            "token_2_count",
            "status_code2",
            "zipcode2",
            "codes_per_user",
            "sort_key_2",
            "s3_key",
            "monkey2",
            "email_2_verified",
            "ipaddress",
            "md5hash",
            "bypass",
            "pass_count",
            "bypass_words",
            "tmp_wd",
            "word",
            "email_count",
            "e_mail_count",
            "eMailVerified",
            "e_mailbox",
            "mail",
            "e",
            "type_e",
            "re_mail",
            "home_mail",
            "postcode",
            "statuscode",
            "barcode",
            "countrycode",
            "errorcodes",
            "sourcecode",
            "turkey",
            "turkeys",
            "publickey",
            "sortkey",
            "primarykey",
            "hockey",
            "secretkey_id",
            "resetcode_count",
            "decode",
            "keys_per_user",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
