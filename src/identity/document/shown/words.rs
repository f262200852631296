//! Words that stand on documents and are no names: what a person is, where they were born, and the
//! labels of that.
//!
//! A line below the label of a name is a name by its place alone. Where a zone bears it out these words
//! do not matter; where none does, a name that is one of them stays black.

use crate::identity::document::front;

/// States as documents name themselves, folded, by the letters that they have in a zone; those whose
/// documents people here have.
const STATES: [(&str, &str); 16] = [
    (
        "BEL",
        "belgie belgique belgien belgium koninkrijkbelgie royaumedebelgique konigreichbelgien \
         kingdomofbelgium belgiebelgiquebelgien belgiebelgiquebelgienbelgium",
    ),
    ("NLD", "nederland netherlands koninkrijkdernederlanden kingdomofthenetherlands"),
    ("FRA", "france republiquefrancaise"),
    ("D", "deutschland bundesrepublikdeutschland federalrepublicofgermany germany"),
    ("LUX", "luxembourg grandducheduluxembourg"),
    ("ITA", "italia repubblicaitaliana"),
    ("ESP", "espana reinodeespana"),
    ("PRT", "portugal republicaportuguesa"),
    ("POL", "polska rzeczpospolitapolska"),
    ("ROU", "romania"),
    ("BGR", "bulgaria republicofbulgaria"),
    ("FIN", "suomi finland suomifinland"),
    ("MAR", "maroc royaumedumaroc"),
    ("TUR", "turkiye turkiyecumhuriyeti"),
    ("UKR", "ukraine"),
    ("GBR", "unitedkingdom"),
];

/// Nationalities, and states as places of birth, in Dutch, French, German and English.
const NATIONALITIES: &str = "\
belg belge belgisch belgische belgian belgier belgierin \
nederlands nederlandse nederlander neerlandais neerlandaise niederlandisch niederlander dutch hollandais \
frans franse fransman francais francaise franzosisch franzose franzosin french frankrijk frankreich \
duits duitse duitser allemand allemande deutsch deutsche deutscher german duitsland allemagne \
luxemburgs luxemburgse luxemburger luxembourgeois luxembourgeoise luxemburgisch luxemburg \
italiaans italiaanse italien italienne italienisch italian italiana italiano italie italy \
spaans spaanse spanjaard espagnol espagnole spanisch spanish espanola espanol spanje espagne spanien spain \
portugees portugese portugais portugaise portugiesisch portuguese portuguesa \
pools poolse pool polonais polonaise polnisch polish polskie polen pologne poland \
roemeens roemeense roumain roumaine rumanisch romanian romana roman roemenie roumanie rumanien \
bulgaars bulgaarse bulgare bulgarisch bulgarian bulgarije bulgarie bulgarien \
grieks griekse grec grecque griechisch greek griekenland grece griechenland greece \
hongaars hongaarse hongrois hongroise ungarisch hungarian hongarije hongrie ungarn hungary \
tsjechisch tsjechische tcheque tschechisch czech slowaaks slowaakse slovaque slowakisch slovak \
oostenrijks oostenrijkse autrichien autrichienne osterreichisch austrian oostenrijk autriche osterreich \
zwitsers zwitserse suisse schweizer swiss zwitserland schweiz switzerland \
zweeds zweedse suedois suedoise schwedisch swedish fins finse finlandais finnisch finnish \
deens deense danois danoise danisch danish noors noorse norvegien norwegisch norwegian \
brits britse britannique britisch british engels engelse anglais anglaise iers ierse irlandais irish \
kroatisch kroatische croate croatian servisch servische serbe serbian bosnisch bosniaque bosnian \
albanees albanese albanais albanaise albanisch albanian kosovaars kosovar macedonisch macedonien \
oekraiens oekraiense ukrainien ukrainienne ukrainisch ukrainian oekraine \
russisch russische russe russian wit-russisch bielorusse moldavisch moldave moldovan rusland russie russland \
turks turkse turc turque turkisch turkish turkije turquie turkei turkey \
marokkaans marokkaanse marocain marocaine marokkanisch moroccan marokko morocco \
algerijns algerijnse algerien algerienne algerian algerije algerie \
tunesisch tunesische tunisien tunisienne tunisian tunesie tunisie egyptisch egyptien egyptian \
syrisch syrische syrien syrienne syrian syrie iraaks iraakse irakien irakienne iraqi irak \
iraans iraanse iranien iranienne iranian iran afghaans afghaanse afghan afghane afghanistan \
pakistaans pakistanais pakistani pakistan indisch indische indien indienne indian \
chinees chinese chinois chinoise chinesisch vietnamees vietnamien vietnamese filipijns philippin filipino \
amerikaans amerikaanse americain americaine amerikanisch american canadees canadien canadian \
braziliaans braziliaanse bresilien bresilienne brasilianisch brazilian bresil brazilie \
congolees congolese congolais congolaise kongolesisch congo rwandees rwandais rwandaise rwandan rwanda \
burundees burundais burundian burundi kameroens camerounais cameroonian kameroen cameroun \
guinees guineen guineenne guinean guinee senegalees senegalais senegalaise senegal \
ghanees ghaneen ghanaian ghana nigeriaans nigerian nigeriane nigeria ivoriaans ivoirien \
ethiopisch ethiopien ethiopian eritrees erythreen eritrean somalisch somalien somali \
armeens armenien armenian georgisch georgien georgian europees europeen staatloos apatride staatenlos";

/// Their letters in a zone.
const CODES: &str = "bel nld fra deu lux ita esp prt pol rou bgr fin mar tur ukr gbr irl aut che grc hun \
    cze svk hrv srb bih alb mkd rks rus blr mda dza tun egy syr irq irn afg pak ind chn vnm phl usa can bra \
    cod cog rwa bdi cmr gin sen gha nga civ eth eri som arm geo dnk swe nor est lva ltu svn";

/// A sex by itself, and one that is none of a name's words either.
const SEXES_ALONE: &str = "man vrouw mann frau mv vm mf fm mvx mfx sex";
const SEXES: &str = "m v f x h w mannelijk vrouwelijk mannlich weiblich masculin feminin homme femme male \
    female maschile femminile";

/// Towns in which many of the people here were born, in their languages.
const TOWNS: &str = "aalst aarlen aarschot alost amsterdam ankara anderlecht antwerpen anvers ath arlon aubange \
    bastogne beringen beveren bilzen blankenberge bonheiden boom brasschaat braine bree brugge bruges \
    brussel bruxelles brussels bucuresti casablanca charleroi chatelet colfontaine dendermonde deinze diest \
    dilbeek dinant doornik eeklo edegem ekeren etterbeek eupen evere fleron forest frameries ganshoren geel \
    genk gent gand geraardsbergen gembloux gosselies grimbergen halle hal haarlem hasselt heist heusdenzolder \
    herentals herstal houthalen huy istanbul ixelles elsene jette kapellen kinshasa knokke koekelberg koksijde \
    kortrijk courtrai lalouviere lanaken leuven louvain liege luik luttich lier lille lokeren lommel london \
    londres lontzen maaseik maasmechelen madrid malmedy manage marrakech mechelen malines menen merksem \
    middelkerke mol molenbeek mons bergen mortsel mouscron moeskroen namur namen nador nijvel nivelles ninove \
    oostende ostende oudenaarde oujda overijse paris parijs peer pelt philippeville quaregnon rabat rijsel \
    roeselare roulers roma ronse renaix rotterdam saintgilles sintgillis sintniklaas sinttruiden saintjosse \
    schaarbeek schaerbeek schoten seraing sofia soignies spa tamines tanger temse ternat tessenderlo tielt \
    tienen tirlemont tongeren tongres torhout tournai tubize turnhout uccle ukkel utrecht verviers veurne \
    vilvoorde vise waregem warszawa warschau waterloo wavre waver wervik wetteren wevelgem willebroek woluwe \
    zaventem zelzate zottegem zele";

/// Words that say that a place follows.
const BEFORE_TOWN: &str = "te a zu in at";
const PLACES: &str = "stad gemeente commune municipality gemeinde burgemeester bourgmestre";

/// Labels of what is not shown, besides those that are read: folded.
const LABELS: &str = "\
geboorteplaats plaatsvangeboorte datumvangeboorte lieudenaissance lieuetdatedenaissance geburtsort \
placeofbirth birthplace plaatsvanafgifte lieudedelivrance ausstellungsort placeofissue afgegevente \
gemeente commune municipality gemeinde wohnort woonplaats domicile residence verblijfplaats \
adres adresse address anschrift autorite autoriteit authority issuingauthority behorde instantie \
burgerlijkestaat etatcivil civilstatus familienstand taille lengte grosse height augenfarbe kleurogen \
couleurdesyeux colourofeyes handtekening handtekeningvandehouder signature unterschrift beroep profession \
beruf occupation titel titre land pays country staat etat provincie opmerkingen remarques remarks \
anmerkungen datumvanafgifte afgiftedatum datededelivrance dateofissue ausstellungsdatum delivrele \
geldigvan valabledu validfrom gultigvon kinderen enfants children kinder kindvan";

/// Whose name a label may mean that is not the holder's.
const KIN: [&str; 10] =
    ["vader", "moeder", "pere", "mere", "father", "mother", "vater", "mutter", "ouders", "parent"];
/// A label of so many letters may have more behind it.
const LONG_LABEL: usize = 9;

fn has(words: &str, word: &str) -> bool {
    words.split_ascii_whitespace().any(|known| known == word)
}

/// The letters of the state whose name a text is, and nothing else.
pub(super) fn state(text: &str) -> Option<&'static str> {
    let is_word = |letter: char| letter.is_alphabetic() || matches!(letter, ' ' | '\'' | '/' | '-');
    let plain = front::plain(text);
    let found = STATES.iter().find(|(_, names)| has(names, &plain));
    found.filter(|_| text.chars().all(is_word)).map(|(code, _)| *code)
}

/// Whether a text is, or has in it, what a person is or where they are from, or is a label of that.
pub(super) fn is_no_name(text: &str) -> bool {
    let words = plain_words(text);
    let place = words.iter().skip_while(|word| has(BEFORE_TOWN, word));
    let place: String = place.map(String::as_str).collect();
    let whole = words.concat();
    words.iter().any(|word| is_told(word))
        || is_told(&whole)
        || has(TOWNS, &place)
        || is_other_label(text)
        || [CODES, SEXES_ALONE].iter().any(|of| has(of, &whole))
}

/// Whether any word of a label is what a person is or where they are from.
pub(super) fn is_more_than_label(text: &str) -> bool {
    let all = [SEXES_ALONE, TOWNS, CODES];
    is_other_label(text)
        || plain_words(text).iter().any(|word| is_told(word) || all.iter().any(|of| has(of, word)))
}

fn is_told(word: &str) -> bool {
    [NATIONALITIES, SEXES, PLACES].iter().any(|of| has(of, word)) || state(word).is_some()
}

fn plain_words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || "-,./:".contains(c));
    words.map(front::plain).filter(|word| !word.is_empty()).collect()
}

/// Whether a line is a label of something that is never shown and that nobody reads.
pub(super) fn is_other_label(text: &str) -> bool {
    let is_label = |part: String| {
        LABELS
            .split_ascii_whitespace()
            .any(|label| part == label || label.len() >= LONG_LABEL && part.starts_with(label))
    };
    let whole = front::plain(text);
    let is_of_kin = KIN.iter().any(|word| whole.contains(word)) && front::label(text).is_some();
    is_of_kin || text.split(['/', ':', '：', '(']).map(front::plain).any(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_is_is_no_name() {
        for text in [
            "M",
            "V",
            "F",
            "X",
            "H",
            "Vrouw",
            "homme",
            "FEMALE",
            "weiblich",
            "man",
            "M V",
            "BELG",
            "Belge",
            "Belgisch",
            "DEUTSCH",
            "FRANÇAISE",
            "Nederlandse",
            "België",
            "Royaume de Belgique",
            "BEL",
            "MAR",
            "Peeters BELG",
            "Lotte V",
            "Genk",
            "te Genk",
            "À LIÈGE",
            "Gemeente Dilbeek",
            "La Louvière",
            "B e l g",
            "Sint-Niklaas",
        ] {
            assert!(is_no_name(text), "{text}");
        }
        for text in [
            "Peeters",
            "Van den Broeck",
            "De Man",
            "Jean-Pierre",
            "D'Angelo",
            "M'Bala",
            "Van Gent",
            "Müller",
            "El Amrani",
            "Lotte Maria",
            "Xavier",
            "Jean-Pierre L",
            "Thi Mai",
            "An",
        ] {
            assert!(!is_no_name(text), "{text}");
        }
    }

    #[test]
    fn a_label_of_a_place_or_of_a_parent_is_none_of_a_name() {
        for text in [
            "Geboorteplaats",
            "Lieu de naissance / Place of birth",
            "Gemeente",
            "Prénoms du père",
            "Adresse:",
            "Datum van geboorte",
        ] {
            assert!(is_other_label(text), "{text}");
        }
        for text in ["Naam / Surname", "Voornamen", "Prénoms / Given names", "Peeters", "Vaderlant"]
        {
            assert!(!is_other_label(text), "{text}");
        }
    }
}
