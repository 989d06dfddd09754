"""Words by which people call columns: English, German, French, Spanish, Italian, Portuguese and Dutch.

Lower case, without accents. Left out is what says something else in another of these languages: `data` (a
date in Italian), `art` (a kind in German), `tag` (a day), `tempo` and `temps` (times).
"""

from __future__ import annotations


def _words(*lines: str) -> set[str]:
    return {word for line in lines for word in line.split()}


TITLES = _words("title titel titre titulo titolo")
NAMES = _words("name nom nombre nome naam bezeichnung")
"""`nombre` is a number in French; but only columns of words are asked for their titles."""

IDS = {"id", "nr", "nummer", "numero"}
ENDINGS = ("nummer", "titel", "title", "name", "naam", "nr", "id")
"""Of words that stand for two where what comes before is an item or a user: `userid`, `Produktname`."""

ITEMS = TITLES | _words(
    "item product asin isbn sku ean upc gtin article movie film book song track artist game recipe business",
    "news course video show event offer listing hotel place poi anime app paper work",
    "artikel produkt filme buch lied spiel rezept angebot veranstaltung ereignis",
    "produit livre jeu recette chanson morceau oeuvre offre evenement",
    "producto libro pelicula juego receta cancion articulo obra oferta noticia",
    "prodotto gioco ricetta canzone articolo opera notizia",
    "produto livro jogo receita artigo musica boek spel recept",
)
USERS = _words(
    "user reader customer client member visitor reviewer buyer account patron borrower person shopper viewer",
    "listener player subscriber guest author student employee household subject rater cust",
    "kunde kunden kundin nutzer benutzer anwender leser leserin kaufer besteller mitglied konto teilnehmer",
    "zuschauer horer spieler besucher gast abonnent schuler",
    "utilisateur lecteur acheteur membre visiteur adherent abonne joueur spectateur usager etudiant personne",
    "usuario cliente lector comprador miembro socio visitante jugador suscriptor estudiante persona",
    "utente lettore acquirente membro visitatore giocatore abbonato studente",
    "utilizador leitor jogador assinante gebruiker klant lezer koper bezoeker speler abonnee",
)
TIMES = _words(
    "timestamp time date datetime ts unix datum zeit zeitpunkt zeitstempel horodatage fecha tiempo tijd",
    "tijdstip tijdstempel",
)
PERHAPS_TIMES = _words("at day when on wann jour quand cuando giorno dag wanneer")
"""Of a time only if it can be read as one."""

NO_TEXT = _words(
    "url urls uri link image images img picture thumbnail href path date time timestamp created updated hash",
    "uuid asin isbn sku ean datum fecha bild foto lien enlace imagen immagine imagem afbeelding",
)
ORDER_OF_TEXT = (
    TITLES | NAMES | {"headline"},
    _words("subtitle series edition untertitel serie sottotitolo subtitulo ondertitel edicion edizione"),
    _words(
        "brand maker author authors artist director creator publisher store",
        "marke hersteller autor autorin verfasser verlag kunstler regisseur regie",
        "marque auteur fabricant editeur realisateur artiste marca fabricante editorial artista",
        "autore editore regista produttore editora merk uitgever kunstenaar fabrikant",
    ),
    _words(
        "category categories genre genres class type kind tags subject topic",
        "kategorie gattung typ sorte thema rubrik klasse categorie sujet theme",
        "categoria tipo tema genero clase genere classe soort onderwerp",
    ),
    _words(
        "features feature keywords merkmale eigenschaften stichworte schlagworte caracteristiques",
        "caracteristicas caratteristiche kenmerken",
    ),
    _words(
        "description summary abstract overview plot synopsis text about body",
        "beschreibung zusammenfassung inhalt handlung klappentext resume contenu texte descripcion sinopsis",
        "resumen contenido texto descrizione trama sintesi riassunto contenuto testo",
        "descricao sinopse resumo conteudo omschrijving beschrijving samenvatting inhoud tekst",
    ),
)
"""Words of the columns of a text, in the order in which they say what an item is."""
