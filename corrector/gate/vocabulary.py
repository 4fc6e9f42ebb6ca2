"""Words of the gate's training prompts, by what they are for: people, things, scenes, actions, styles.

`subjects.py` and `texts.py` combine them. An axis' training leaves out what its own sides name.
"""


def _listed(text):
    """A text of entries separated by commas -> tuple."""
    return tuple(" ".join(entry.split()) for entry in text.split(",") if entry.strip())


PEOPLE = _listed("""
    man, woman, person, girl, boy, child, teenager, couple, family, baby, lady, gentleman, guy, kid, student,
    teacher, doctor, nurse, chef, lawyer, engineer, artist, dancer, singer, musician, actor, actress, model,
    athlete, runner, footballer, boxer, soldier, police officer, firefighter, pilot, sailor, driver, mechanic,
    carpenter, tailor, baker, waiter, shopkeeper, accountant, manager, CEO, businessman, businesswoman,
    entrepreneur, scientist, researcher, professor, librarian, writer, poet, journalist, photographer, programmer,
    architect, gardener, farmer, fisherman, grandmother, grandfather, grandma, grandpa, mother, father, mom, dad,
    sister, brother, daughter, son, wife, husband, bride, groom, friend, friends, neighbour, neighbor, colleague,
    tourist, worker, adult, elder, people, men, women, children, girls, boys, twins, crowd, team, king, queen,
    princess, prince, warrior, monk, veteran, parent, sibling, aunt, uncle, cousin, individual, customer, judge,
    politician, president, priest, swimmer, cyclist, guitarist, drummer, painter, nanny, cook, barista, dentist,
    surgeon, electrician, plumber, designer, spouse, gal, bro, sis, lad, lass, dude, bloke, chap, fella, buddy, granny,
    toddler, roommate
""")
LOOKS = _listed("""
    young, old, elderly, middle-aged, tall, short, beautiful, handsome, pretty, happy, sad, serious, calm, smiling,
    laughing, tired, proud, shy, cheerful, friendly, elegant, stylish, muscular, slim, plump, bald, blonde,
    red-haired, freckled, famous, local, kind, confident, curious, gentle, busy, brave, thoughtful, angry,
    surprised, athletic, retired, wealthy, ordinary, cute, strong, wise, bespectacled, curly-haired, gorgeous,
    realistic, one, two, three
""")
OTHER_PEOPLE = _listed("""
    Danish, Swedish, Norwegian, Finnish, Icelandic, Dutch, Belgian, German, Austrian, Swiss, French, Spanish,
    Portuguese, Italian, Greek, Irish, Scottish, Welsh, English, British, Polish, Czech, Slovak, Hungarian,
    Romanian, Bulgarian, Serbian, Croatian, Ukrainian, Russian, Estonian, Latvian, Lithuanian, Turkish, Armenian,
    Georgian, Kazakh, Mongolian, Chinese, Japanese, Korean, Taiwanese, Vietnamese, Thai, Cambodian, Burmese,
    Malaysian, Indonesian, Filipino, Tibetan, Nepali, Bhutanese, Indian, Pakistani, Bangladeshi, Sri Lankan, Afghan,
    Iranian, Persian, Iraqi, Syrian, Lebanese, Jordanian, Palestinian, Israeli, Saudi, Yemeni, Omani, Emirati,
    Kuwaiti, Egyptian, Libyan, Tunisian, Algerian, Moroccan, Sudanese, Ethiopian, Eritrean, Somali, Kenyan,
    Tanzanian, Ugandan, Rwandan, Congolese, Nigerian, Ghanaian, Senegalese, Malian, Ivorian, Cameroonian, Angolan,
    Zambian, Zimbabwean, Namibian, South African, Malagasy, American, Canadian, Mexican, Guatemalan, Honduran,
    Salvadoran, Nicaraguan, Costa Rican, Panamanian, Cuban, Haitian, Jamaican, Dominican, Puerto Rican, Colombian,
    Venezuelan, Ecuadorian, Peruvian, Bolivian, Chilean, Argentinian, Uruguayan, Paraguayan, Brazilian, Australian,
    New Zealand, Samoan, Tongan, Fijian, Hawaiian, Native Hawaiian, Pacific Islander, Inuit, Sami, Navajo, Cherokee,
    Aboriginal, Maori, Roma, Basque, Catalan, Kurdish, Jewish, Muslim, Christian, Catholic, Protestant, Orthodox,
    Mormon, Amish, Buddhist, Hindu, Sikh, Rastafarian, atheist, Latino, Latina, Hispanic, European, Caucasian,
    white, East Asian, Southeast Asian, Asian, African, African American, Afro-Caribbean, Middle Eastern, Arab,
    Scandinavian, Slavic, Mediterranean, Caribbean, Polynesian, Siberian, Andean, Balkan, Nordic, Alpine, Texan,
    Californian, Viking, Roman, medieval, Victorian, elven, alien, cyberpunk
""")
OTHER_PLACES = _listed("""
    Denmark, Norway, Finland, Iceland, Belgium, Germany, Austria, France, Spain, Portugal, Italy, Greece, Ireland,
    Scotland, England, Poland, Hungary, Russia, Ukraine, Turkey, Japan, Korea, Vietnam, Thailand, China, India,
    Pakistan, Iran, Iraq, Israel, Egypt, Morocco, Kenya, Nigeria, Ghana, Senegal, Ethiopia, Canada, the United
    States, Mexico, Cuba, Jamaica, Peru, Brazil, Chile, Argentina, Colombia, Venezuela, Australia, Samoa, Alaska,
    Hawaii, California, Texas, New York, Chicago, London, Paris, Berlin, Rome, Vienna, Prague, Madrid, Lisbon,
    Amsterdam, Stockholm, Moscow, Tokyo, Kyoto, Seoul, Hong Kong, Shanghai, Singapore, Bangkok, Sydney, Toronto, Rio
    de Janeiro, Venice, Mars, Antarctica
""")
PRODUCTS = _listed("""
    food, soup, stew, bread, rice dish, street food, breakfast, sandwich, curry, cheese, beer, coffee, coffee beans,
    tea, wine, spices, sweets, wedding cake, dessert, cookbook, restaurant logo, food truck, flag, map, coin,
    banknote, stamp, passport, football jersey, textile, textile pattern, rug, blanket, basket, pottery, clay pot,
    mask, wooden mask, drum, flute, jewellery, necklace, pendant, ring, tattoo design, sugar skull, ornament,
    pattern, wallpaper, calendar, poster, history book cover, novel, newspaper, magazine, dictionary, alphabet,
    proverb, folk tale, music album cover, film, airline logo, car, motorcycle, truck, train, ship, airplane,
    bicycle, motorway sign, ink drawing, ink, stone statue, sculpture, mosaic, furniture, chair, lamp, knife, sword,
    shield, football, chess set, puppet, doll, kite, holiday table, holiday, festival poster, star, emblem, coat of
    arms, sports team logo, currency, gold coin, treaty, economy
""")
CREATURES = _listed("""
    elephant, lion, tiger, leopard, giraffe, zebra, rhinoceros, hippo, gorilla, monkey, wild dog, hairless dog, dog,
    puppy, shepherd dog, cat, kitten, wildcat, fox, wolf, bear, red panda, rabbit, hamster, hedgehog, squirrel,
    mouse, bat, deer, reindeer, horse, donkey, cow, goat, sheep, pig, chicken, duck, goose, owl, eagle, parrot, grey
    parrot, penguin, flamingo, peacock, swan, crow, hummingbird, crocodile, turtle, tortoise, frog, salamander,
    lizard, snake, bullfrog, goldfish, shark, whale, dolphin, octopus, crab, snail, bee, honey bee, butterfly,
    beetle, spider, ant, dragon, unicorn, robot, dinosaur, teddy bear, violet, lily, rose, daisy, tulip, orchid,
    sunflower, marigold, cactus, palm tree, oak tree, acacia tree, tree, fern, grass, mushroom, corn, beans, mango,
    dates, figs, olives, grapes
""")
LANDSCAPES = _listed("""
    savanna, desert, ocean, ocean waves, coastline, beach, river, lake, waterfall, jungle, rainforest, mountain
    range, volcano, canyon, island, plain, sky, sunset, night sky, continent, border, embassy, museum building,
    cemetery, monument, ruins, bridge, railway station, airport, harbour, castle, temple, cathedral, stadium,
    national park, parliament building, headquarters, restaurant, supermarket, satellite image, landscape, garden,
    architecture
""")
OBJECTS = _listed("""
    a bowl of fruit, a plate of pasta, a slice of pizza, a cup of tea, a glass of orange juice, a chocolate cake, an
    apple, a red bicycle, a sports car, a pickup truck, a steam train, a sailing boat, a rocket, a space station, an
    old camera, a laptop on a desk, a mechanical watch, a pair of sneakers, a leather bag, a green dress, a wooden
    table, an armchair, a lamp, a bookshelf, a piano, a violin, an electric guitar, a teapot, a vase of flowers, a
    candle, a stack of books, an old map, a compass, a chess board, a basketball, a skateboard, a surfboard, a tent,
    an umbrella, a traffic light, a stop sign, a red barn, a lighthouse, a windmill, a castle on a hill, a stone
    bridge, a cathedral, a treehouse, a cottage by a lake, an igloo, a spaceship interior, a futuristic city, a neon
    alley, a foggy forest, a snowy mountain, a waterfall, a desert at night, a coral reef, a field of lavender, the
    milky way, a thunderstorm, a planet with rings, an abstract painting, a geometric pattern, a logo of a coffee
    shop, an app icon, a sticker, a tarot card, a stained glass window, a crystal ball, a magic sword, a treasure
    chest, a potion bottle, a gold coin, a floating island, a clockwork heart, a skull with roses, an isometric
    room, a blueprint, a chart, the word hello written in chalk, a concept car, a Volkswagen van, a Coca-Cola can, a
    Lego castle, a Game Boy, an iPhone, gravity, freedom, infinity, silence, a dream, the number seven, an equation
    on a blackboard, smoke and fire, paint splashes, water drops, autumn leaves, a gingerbread cottage, a bus stop,
    an empty road, a library, a kitchen, a bathroom, a swimming pool, a subway station, a bakery shop window, a
    vintage poster, a wedding invitation, a birthday card
""")
CHARACTERS = _listed("""
    a wizard, a knight in armor, a witch, a vampire, a zombie, an astronaut, a cyborg, a robot, an android girl, an
    elf archer, a dwarf, an orc, a mermaid, a fairy, an angel, a demon, a samurai, a ninja, a pirate, a cowboy, a
    viking, a gladiator, a superhero, Batman, Spiderman, Darth Vader, Gandalf, Sherlock Holmes, Alice in Wonderland,
    Pikachu, Super Mario, Frankenstein's monster, the grim reaper, a scarecrow, a snowman, a clown, a mime, an
    alien, a giant, a ghost, a goddess, Zeus, Medusa, a mad scientist, a detective, an assassin, a mage girl, a
    steampunk inventor, a space marine
""")
SCENES = _listed("""
    on a beach, in a forest, in a garden, in a kitchen, at a table, by a window, under a tree, in the rain, in the
    snow, on a mountain, by a lake, at a bus stop, in a train, on a boat, in a car, in space, on a bench, in a
    park, on stage, in a museum, at the gym, in a swimming pool, at a party, in a meadow, on a bridge, in the
    desert, at an airport, in a bookshop, in bed, on a staircase, on a rooftop, underwater, among flowers, against
    a white wall, at sunset, at night, at dawn, in the morning light, in autumn, in summer, in the fog, next to a
    horse, near a fountain, behind a counter, in front of a mirror, in an elevator, at a concert, in a hospital, on
    a balcony, in a field of sunflowers, on a pier, in a tunnel, in a hallway, at a desk, by the fireplace, in a
    doorway, on a swing, in a hammock, in a tent, at a campfire, in a canoe, on a ferry, in a tram, on the
    platform, in a car park, at a zoo, at an aquarium, in a greenhouse, in an orchard, under the stars, in a
    thunderstorm, in a light drizzle, in the wind, on a cold morning, on a hot afternoon, on a Sunday, in spring,
    in winter, at noon, at midnight, at dusk, at Christmas, on New Year's Eve, at a picnic, at a barbecue, at a
    funfair, at a football match, at the cinema, on a tennis court, on a ski slope, on an ice rink, at the dentist,
    in a waiting room, in a recording studio, in front of a bookshelf, in front of a brick wall, in front of a
    waterfall, in front of a map, beside a lamp, next to a bicycle, next to a piano, near a river, on a cliff, on
    an island, in tall grass, on a gravel path, on a hill, inside a lighthouse, inside a cave, in a dream, on
    another planet, in a snow globe, in a crowd, among friends, in the middle of the picture, in the lower left
    corner, seen from far away
""")
ACTIONS = _listed("""
    eating breakfast, drinking coffee, reading a newspaper, walking a dog, riding a bicycle, running from an
    explosion, waiting in line, laughing with a friend, shaking hands, playing chess, playing the guitar, singing,
    dancing, cooking dinner, painting a wall, fixing a car, taking a selfie, talking on the phone, holding a cat,
    holding flowers, looking at the camera, looking away, looking out of the window, sleeping, jumping, climbing a
    rock, swimming, fishing, hiking, giving a speech, writing a letter, blowing out candles, watching television,
    playing cards, doing yoga, lifting weights, with crossed arms, with a backpack, with a dog, with glasses, with
    sunglasses, with headphones, with freckles, with long hair, with short hair, with blue eyes, with an umbrella,
    wearing glasses, wearing a scarf, smiling softly, crying, waving, pointing, thinking, dreaming of stars,
    holding a balloon, carrying a box, sitting on a sofa, eating an apple, eating noodles, eating ice cream,
    drinking tea, brushing teeth, combing hair, tying a shoelace, looking at a watch, reading a letter, drawing a
    picture, knitting, folding laundry, watering plants, raking leaves, shovelling snow, baking bread, peeling
    potatoes, stirring a pot, pouring water, opening a door, opening a present, climbing a ladder, crossing the
    street, running a race, skating, surfing, rowing, kicking a ball, catching a ball, playing with a child,
    hugging a friend, holding hands, whispering, arguing, laughing out loud, yawning, sneezing, frowning, winking,
    stretching, bowing, kneeling, crouching, leaning on a wall, lying in the grass, lying on the floor, sitting at
    a table, sitting on the ground, standing still, standing with hands in pockets, walking away, turning around,
    looking up, looking over the shoulder, looking surprised, looking tired, looking happy, looking serious,
    covering the eyes, with closed eyes, with a big smile, with a serious face, with rosy cheeks, with wet hair,
    with a beard, with one raised hand, with both arms up, with a cup of tea, with a bunch of keys, with a cat on
    the lap, with a bird on the shoulder, with two friends, holding a book, holding an apple, holding a candle,
    holding a sign, wearing gloves, wearing boots, wearing a helmet, feeding ducks, petting a dog, taking notes,
    waiting for a friend, saying goodbye, telling a joke, solving a puzzle, blowing bubbles, flying a kite,
    building a snowman, repairing a radio, repairing a bicycle, learning to swim, celebrating a birthday, watching
    a film, listening to music, smelling a flower, picking apples, tasting soup
""")
OPENERS = _listed("""
    a photo of, photo of, a photograph of, a portrait of, portrait of, a picture of, an image of, a painting of, oil
    painting of, an oil painting of, a watercolour of, a drawing of, a sketch of, pencil sketch of, an illustration
    of, illustration of, digital art of, digital painting of, concept art of, a cartoon of, cartoon of, a close-up
    of, close up of, a close-up photo of, a headshot of, a studio shot of, a cinematic shot of, a selfie of, a
    snapshot of, a polaroid of, movie poster with, a film still of, a 3d render of, a wide shot of, a low angle shot
    of, a poster of, a statue of, a tattoo of, an anime drawing of, a beautiful painting of, a realistic photo of, a
    vintage photograph of, a black and white photo of, a candid photo of, stock photo of, a magazine cover with, a
    comic panel of, a mural of, the face of, a full body shot of, RAW photo of, award winning photo of, a fashion
    photo of, there is, this is, I want a picture of, please draw, show me, generate
""")
STYLES = _listed("""
    masterpiece, best quality, high quality, highly detailed, ultra detailed, extremely detailed, intricate details,
    4k, 8k, 8 k, uhd, hdr, hd wallpaper, high resolution, absurdres, highres, sharp focus, soft focus, bokeh, bokeh
    background, depth of field, shallow depth of field, film grain, grainy, soft light, soft lighting, studio
    lighting, dramatic lighting, volumetric lighting, cinematic lighting, rim light, golden hour, blue hour,
    backlit, natural light, ambient occlusion, global illumination, ray tracing, photon mapping, radiosity,
    physically-based rendering, octane render, unreal engine 5, blender, cgi, 3d, isometric, low poly, pixel art,
    vector art, flat colours, line art, ink, charcoal, pastel, watercolor, gouache, acrylic, oil on canvas, impasto,
    fresco, woodcut, etching, engraving, collage, paper cut, origami, mosaic, stained glass, art nouveau, art deco,
    baroque, renaissance, impressionism, expressionism, surrealism, cubism, pop art, minimalism, minimalist,
    abstract, vaporwave, synthwave, cyberpunk, steampunk, dieselpunk, solarpunk, fantasy, dark fantasy, sci-fi,
    horror, gothic, noir, retro, vintage, 1980s, 1950s style, anime, manga, comic book, cartoon, concept art,
    digital art, digital painting, matte painting, illustration, trending on artstation, artstation, deviantart,
    featured on behance, pinterest, award winning, by a famous painter, by rembrandt, by vermeer, by monet, by van
    gogh, by hokusai, by alphonse mucha, by gustav klimt, by caravaggio, by albrecht duerer, in the style of the old
    masters, photorealistic, hyperrealistic, realistic, raw photo, dslr, 35mm, 35mm film photograph, 50mm f/1.8,
    85mm lens, kodak portra 400, fujifilm, polaroid, hasselblad, canon eos r5, nikon, shot on film, anamorphic lens,
    cinemascope, movie still, film still, documentary photo, national geographic, editorial, vogue, street
    photography, macro photo, product shot, aerial view, fisheye, wide angle, close-up, extreme close-up, medium
    shot, full body, upper body, cowboy shot, from above, from below, from behind, from side, profile, front view,
    centered, symmetrical, rule of thirds, dynamic pose, dynamic angle, perfect composition, negative space, white
    background, black background, grey background, gradient background, simple background, blurred background, warm
    colours, cool colours, vivid colours, muted colours, pastel colours, monochrome, black and white, sepia, high
    contrast, low key, high key, moody, epic, serene, peaceful, mysterious mood, dreamy, whimsical, cozy, majestic,
    elegant, smooth, clean, delicate, beautiful, gorgeous, stunning, amazing, perfect, cute, trending, professional,
    looking at viewer, solo, 1girl, 1boy, smile, outdoors, indoors, day, night, blue sky, detailed eyes, detailed
    face, detailed skin, symmetrical face, long hair, short hair, curly hair, bangs, earrings, freckles, blush,
    parted lips, hand on hip, standing, sitting, score_9, score_8_up, score_7_up, source_anime, rating_safe, very
    aesthetic, newest, vignette, lens flare, light rays, dust particles, rain drops, snowflakes, fog, mist, smoke,
    sparks, fireflies, petals, reflections, silhouette, shadows, neon lights, candlelight, moonlight, sunlight,
    overcast, storm clouds, lightning, color graded, high budget, hollywood movie, trending on cgsociety, made with
    care, a fine picture, natural skin texture, pores, wrinkles, sticker, logo, emblem, tarot card, album cover,
    book cover, city lights, night city, propaganda poster, blueprint, infographic, children's book illustration
""")
GARMENTS = _listed("""
    raincoat, pyjamas, spacesuit, swimsuit, tuxedo, kilt, hoodie, apron, uniform, wedding dress, leather jacket,
    tracksuit, cape, dungarees, cardigan, tutu, ski suit, bathrobe, denim jacket, evening gown, lab coat, football
    shirt
""")
ROLES = _listed("""
    cook, pilot, dentist, plumber, teacher, baker, judge, dancer, sailor, gardener, librarian, barber, bus driver,
    surgeon, singer, beekeeper, astronaut, goalkeeper, translator, watchmaker, florist, postman, referee, carpenter
""")
HELD = _listed("a violin, a red umbrella, a cup, a kitten, a trophy, a map, a lantern, a fishing rod, a hammer, a kite")
GAMES = _listed("tennis, chess, the violin, cards, volleyball, the piano, golf, hide and seek, rugby, darts, the drums")
SURROUNDINGS = _listed("""
    beach, forest, kitchen, spaceship, desert, garden, swamp, cave, cathedral, swimming pool, train station, meadow,
    ship, circus, airport, harbour, snowy field, gym, theatre, factory, vineyard, jungle, submarine, supermarket,
    barn
""")
BUILT = _listed("""
    street, side street, narrow street, main road, house, big house, apartment, flat, apartment building, kitchen,
    room, bedroom, living room, classroom, school, university, hospital, shop, market, shopping mall, cafe,
    restaurant, office, office building, bank, hotel, town, small town, city, city centre, suburb, neighbourhood,
    neighborhood, village, courtyard, front yard, backyard, garage, roof, station, square, block of flats, interior,
    backyard, home, library, playground, bus stop, petrol station, workshop, skyline, building, family
""")
FIRST_NAMES = _listed("""
    Anna, Ben, Clara, David, Emma, Felix, Grace, Henry, Ida, Jack, Kate, Leo, Mary, Nick, Olivia, Paul, Rosa, Sam,
    Tessa, Victor, Wendy, Max, Lucy, Oscar, Julia, George, Helen, Frank, Alice, Tom, Nora, Simon, Bob, Brian,
    Scarlett, Ryan, Marilyn, Albert, Isaac, Marie, Ludwig, Wolfgang, Napoleon, Julius, Cleopatra, Joan, Charlie,
    Audrey, Elvis, Hermione
""")
LAST_NAMES = _listed("""
    Miller, Weber, Novak, Larsen, Rossi, Dubois, Smith, Johnson, Carter, Baker, Clarke, Murphy, Evans, Fischer,
    Lindgren, Kowalski, Petrov, Tanaka, Morrison, Stone, Brook, Hill, Ford, Watson, Parker, Newton, Hepburn,
    Chaplin, Monroe, Lane, Bennett, Wolf, Marsh, Quinn, Sterling, Hawke, Winter, Caesar, Bonaparte, Beethoven, of
    Arc
""")
COLOURS = _listed("""
    red, blue, green, yellow, orange, purple, pink, brown, grey, silver, golden, black, white, blonde, dark, pale,
    bright, platinum, emerald, turquoise, crimson, violet
""")
BODY = _listed(
    "hair, long hair, short hair, curly hair, eyes, lips, beard, skin, freckles, braids, ponytail, bob cut, face"
)
PROSE = (
    "there is {thing} on {thing}", "{thing} lies next to {thing}", "behind it stands {thing}",
    "{creature} sleeps nearby", "the light of the evening falls on {thing}", "somebody has left {thing} on the floor",
    "a {creature} watches from afar", "in the corner there is {thing}", "far away one can see {thing}",
    "{thing} is about to fall", "all of it is quiet", "the wind moves the leaves",
    "a story about {thing} and {thing}", "it has just stopped raining", "nobody else is there",
    "and everything smells of coffee", "with {thing} in the background", "while {thing} is glowing softly",
    "shelves full of books", "the camera moves slowly past {thing}", "the colours are warm and the shadows are long",
    "who has been waiting for hours", "{thing} reflected in a puddle", "as if time had stopped",
    "the first day of spring", "steam rises from {thing}", "dust dances in the sunlight",
    "a little {creature} on the windowsill", "the picture is taken with an old lens",
    "printed on thick paper with a white border", "{thing} made of paper", "a song plays on the radio",
    "the street lamps are already on", "{creature} and {creature} play in the background",
)  # fmt: skip
PLAIN_SENTENCES = (
    "the {person} is {doing}", "a {person} is {doing}", "a person is {doing}", "{person} {doing} and {doing}",
    "two {person}s are {doing}", "an old {person} {doing} {where}", "a {person} holds {thing}",
    "a {look} {person} {doing}", "a {person} and a {person} are {doing}", "the {look} {person} {where} is {doing}",
    "a {person} with {thing}", "a gorgeous {person} with {colour} hair and {colour} eyes",
    "a {person} made of {thing}", "a {person} in armor", "a {person} wearing a {colour} {garment}, {doing}",
    "half {creature} half {person}", "a {person} as {character}",
)  # fmt: skip
